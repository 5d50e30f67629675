"""Templates of vendors' keys: `{a32}` stands for 32 random letters and digits, other letters for other alphabets."""

from __future__ import annotations

import re
import string
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "b": string.ascii_letters + string.digits + "+/",
    "d": string.digits,
    "h": "0123456789abcdef",
    "l": string.ascii_lowercase + string.digits,
    "u": string.ascii_uppercase + string.digits,
    "w": string.ascii_letters + string.digits + "_",
}


def words(text: str) -> list[str]:
    return text.split()


TEMPLATES = words("""
ABSK{b109}= bedrock-api-key-{b80} 1//0{w60} ya29.{w120} AAAA{w7}:{w140} GOOG1E{u56} AKID{a32} SCW{u17} y0_{w58}
cfut_{a40} cfat_{a40} HRKU-{U} fm2_{b200} sb_secret_{w31} sbp_{h40} sbp_v0_{h40} vcp_{a56} vci_{a30}
vercel_blob_rw_{a16}_{a30} rnd_{a28} napi_{l64} akab-{l16}-{l16} glwt-{w20} glptt-{h40} glrt-{w20} glsoat-{w20}
oy2{l43} cio{a32} ovsxat_{U} sgp_{h40} sgp_local_{h40} sgp_{h16}_{h40} sgp_{a64} ATCTT3{w180} ATBB{a32}
lin_api_{a40} lin_oauth_{h64} PMAK-{h24}-{h34} figd_{w40} bkua_{h40} CCIPAT_{a22}_{h40} sqp_{h40} squ_{h40}
sqa_{h40} snyk_uat.{h8}.{w60} pk_{d8}_{u32} SWMTKN-1-{l50}-{l25} s.a1{a22} hvb.{w150} hvs.{w95} dp.pt.{a43}
st.{h24}.{h32}.{h32} 0.{U}.{a30}:{b22}== dapi{h32} dapi{h32}-2 dose{h32} ops_eyJ{b300} A3-{u6}-{u11}-{u5}-{u5}-{u5}
mdb_sa_sk_{w40} dbtu_{w40} xoxc-{d12}-{d12}-{h64} xoxd-{a80} xoxe-1-{u146} xoxe.xoxp-1-{u163}
xapp-1-{u11}-{d13}-{h64} xoxb-{d12}-{d12}-{a24} hooks.slack.com/services/T{u10}/B{u10}/{a24} SG.{w22}.{w43}
xkeysib-{h64}-{a16} AC{h32} SK{h32} key-{h32} {h32}-{h8}-{h8} md-{w22} re_{a8}_{a24} dG9r{b54}= u+{a18}
KEY0{H31}_{a22} sk_live_{a42} rk_prod_{a30} whsec_{b32} shpua_{h32} shprt_{h32} sq0idp-{w22} sq0csp-{w43} EAAA{w60}
EAAC{a120} access_token$production${l16}${h32} access_token$sandbox${l16}${h32} live_{w40} live_{h35} test_pub_{h31}
rzp_live_{a14} AQE{b80}== pdl_live_apikey_{l26}_{a22}_{a3} sk-None-{w48} sk-or-v1-{h64} sk-{a48} sk_{h48} hf_{a34}
lsv2_pt_{h32}_{h10} tvly-{a32} tvly-dev-{a32} pcsk_{a5}_{a63} nvapi-{w64} tgp_v1_{w43} jina_{h32}{w28} fc-{h32}
fw_{a24} csk-{a48} pa-{w43} apify_api_{a36} e2b_{h40} llx-{a48} rpa_{u42} dt0c01.{u24}.{u64} NRAA-{h27} NRII-{a32}
{h36}NRAL ddpat_{a40} phc_{a43} phx_{a43} pylf_v1_us_{a43} xaat-{U} sdk-{U} mob-{U} api-{U} secret-{a40}
ntn_{d11}{a35} pat{a14}.{h64} key{a14} pat-na1-{U} CFPAT-{w43} aio_{a28} b_{w44} pk.eyJ{w60}.{w22}
tskey-auth-{a12}-{a32} IGQV{w100} AAAAAAAAAAAAAAAAAAAAAA{a80} waka_{U} 1/{d16}:{h32} 2/{d16}/{d16}:{h32}
bot{d10}:A{w34} {d9}:A{w34} M{w23}.{w6}.{w38} {a14}.atlasv1.{w64} {a6}_{a29}_mmk {h32}-us12 {b86}== {a52}JQQJ99{a26}
endr+{a16} a1b8Q~{a34}
""")
TEMPLATES += ["GenieKey {U}", "SSWS 00{w40}"]

LOOK_ALIKES = words("""
live_migration_of_the_whole_cluster_to_the_new_zone live_update_customer_orders_for_the_weekend_sale
xoxo-love-you-lots live_reload_enabled 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 hf_transformers_model_name_with_stuff
test_property_of_a_long_name NorthwindTradersApplication.Orders.RepositoryImplementationForSqlServer
Mxxxxxxxxxxxxxxxxxxxxxxx.abcdef.ghijklmnopqrstuvwxyzabcdefgh
MicrosoftExtensionsLogging.Config.ConfigurationLoggingBuilderExtensions
npm_package_json_something_very_long_thing_here 238B9EE7-EAAA-48ED-9D45-B4AA6C6F59B8
50e1ef69-6215-4050-9083-d4cef306d192 YC-this_is_a_name_of_something_with_40_chr sk-button-primary-large-rounded
secret_manager_of_the_cloud_provider_name api-gateway-internal-load-balancer sdk-release-notes
key-value-store-of-the-application-server re_exported_module_of_the_package md-button-group-of-the-toolbar
pat-na1-of-something keyboardShortcuts fc-cache-of-the-system pa-translations-of-the-user-interface-of-app
phc_of_the_primary_health_centre_data
sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==
registry.example.org/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
s.replace(aaaaaaaaaaaaaaaaaaaaaaaa) 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
d41d8cd98f00b204e9800998ecf8427e node_modules/@babel/core@7.23.0
""")


def make(chance: random.Random, template: str) -> str:
    """Fill the template; the first and the last character of a part are no punctuation."""

    def fill(match: re.Match[str]) -> str:
        if match[1] == "U":
            return str(uuid.UUID(int=chance.getrandbits(128), version=4))
        alphabet = ALPHABETS[match[1].lower()]
        plain = [character for character in alphabet if character.isalnum()]
        inner = [chance.choice(alphabet) for _ in range(int(match[2]))]
        inner[0], inner[-1] = chance.choice(plain), chance.choice(plain)
        return "".join(inner).upper() if match[1] == "H" else "".join(inner)

    return re.sub(r"\{([a-zA-Z])(\d*)\}", fill, template)
