"""The forms of the keys and tokens of common vendors, from their own documentation and from what secret scanners know.

Every form starts with a literal or needs one, and has bounded quantifiers only, so a search takes linear time.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import Final

_HEX: Final = "[0-9a-f]"
_ANY: Final = "[0-9A-Za-z]"
_BASE64: Final = "[0-9A-Za-z+/]"
_UUID: Final = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_END: Final = "(?![0-9A-Za-z_-])"
# Forms that words could have too must show a capital, and a digit or more capitals.
_MIXED: Final = r"(?=[\w+=-]{0,63}?[A-Z])(?=[\w+=-]{0,63}?\d|(?:[a-z0-9_+=-]{0,12}[A-Z]){3})"

_FORMS: Final = (
    # Clouds
    r"A(?:3T[A-Z0-9]|KIA|SIA|BIA|CCA|GPA|ROA)[A-Z0-9]{16}(?![0-9A-Za-z])",  # AWS
    rf"ABSK{_BASE64}{{60,400}}+={{0,2}}",
    r"bedrock-api-key-[\w+/=-]{20,4096}+",
    r"AIza[\w-]{35}(?!\w)",  # Google
    r"GOCSPX-[\w-]{28}",
    r"GOOG1[A-Z0-9]{30,60}+",
    r"ya29\.[\w-]{20,1024}+",
    r"1//0[\w-]{24,256}+",
    r"AAAA[\w-]{7}:[\w-]{134,160}+",
    rf"LTAI{_ANY}{{12,24}}(?![0-9A-Za-z])",  # Alibaba
    rf"AKID{_ANY}{{32}}(?![0-9A-Za-z])",  # Tencent
    r"SCW[A-Z0-9]{17}(?![0-9A-Za-z])",  # Scaleway
    r"AQVN[\w-]{35,38}(?![\w-])",  # Yandex
    r"YC[\w-]{38}(?![\w-])",
    r"y[0-3]_[\w-]{50,64}+",
    r"t1\.[\w-]{1,512}+={0,2}\.[\w-]{86}={0,2}",
    rf"do[opr]_v1_{_HEX}{{64}}",  # DigitalOcean
    rf"v1\.0-{_HEX}{{24}}-{_HEX}{{146}}",  # Cloudflare
    rf"cf(?:ut|at|k)_{_ANY}{{36,64}}+",
    rf"HRKU-(?:AA[\w-]{{58}}|{_UUID})",  # Heroku
    r"fo1_[\w-]{43}",  # Fly
    rf"fm[12][ar]?_{_BASE64}{{100,4096}}+={{0,3}}",
    rf"tk-us-[\w-]{{48}}|nf[pocu]_{_ANY}{{36}}|sha256~[\w-]{{43}}(?![\w-])",  # Scalingo, Netlify, OpenShift
    rf"sb(?:p_(?:[a-z0-9]{{1,8}}_)?{_HEX}{{40}}|_secret_[\w-]{{20,64}}+)",  # Supabase
    rf"vc[piarks]_{_ANY}{{24,64}}+|vercel_blob_rw_{_ANY}{{10,24}}_{_ANY}{{20,48}}+",
    rf"rnd_{_ANY}{{24,40}}+|napi_{_ANY}{{60,70}}+|ucat_{_ANY}{{26}}",  # Render, Neon, UpCloud
    rf"akab-{_ANY}{{16}}-{_ANY}{{16}}",  # Akamai
    # Code and packages
    rf"gh[pousr]_{_ANY}{{36,255}}+|github_pat_\w{{22,255}}+",  # GitHub
    r"gl(?:pat|dt|ft|rtr?|cbt|ptt|agent|oas|ffct|imt|soat|iat|wt|sbt)-[\w.-]{20,320}+",  # GitLab
    r"GR1348941[\w-]{20,64}+",
    rf"npm_{_ANY}{{36}}|pypi-[\w-]{{50,1024}}+|rubygems_{_HEX}{{48}}|CLOJARS_{_ANY}{{60}}|dckr_[po]at_[\w-]{{27,64}}+",
    rf"oy2[a-z0-9]{{43}}{_END}|cio{_ANY}{{32}}{_END}|ovsx[ap]t_{_UUID}",  # NuGet, crates, Open VSX
    rf"AKCp{_ANY}{{60,80}}+|cmVmd{_ANY}{{59}}|API-[A-Z0-9]{{26}}(?!\w)",  # JFrog, Octopus
    rf"sgp_(?:(?:{_ANY}{{5,16}}_)?[0-9a-fA-F]{{40}}|{_ANY}{{64}})|sl[gp]k?_{_HEX}{{64}}",  # Sourcegraph, Segment
    rf"pul-{_HEX}{{40}}|pn[ub]_{_ANY}{{36}}|sntry[su]_[\w+/=]{{40,600}}+",  # Pulumi, Prefect, Sentry
    r"ATATT3[\w=-]{50,250}+|ATCTT3[\w=-]{50,250}+|ATBB[\w=-]{24,64}+",  # Atlassian
    rf"lin_(?:api|oauth)_{_ANY}{{32,64}}+",  # Linear
    rf"PMAK-[0-9a-fA-F]{{24}}-[0-9a-fA-F]{{34}}|rdme_[a-z0-9]{{70}}|ico-{_ANY}{{32}}|fig[dou]r?_[\w-]{{40,64}}+",
    rf"pat\.[\w-]{{22}}\.{_ANY}{{24}}\.{_ANY}{{20}}|sat\.[\w-]{{22}}\.{_ANY}{{24}}\.{_ANY}{{20}}",  # Harness
    rf"bk(?:ua|aj|at|ct)_{_ANY}{{40}}|CCIP(?:AT|RJ)_{_ANY}{{20,24}}_{_HEX}{{40}}|sq[pua]_{_HEX}{{40}}{_END}",  # CI
    rf"snyk_(?:uat|sat)\.{_HEX}{{8}}\.[\w-]{{20,400}}+|endr\+{_MIXED}[\w-]{{16,64}}+",
    r"pk_\d{4,12}_[A-Z0-9]{32}|SWMTKN-1-[a-z0-9]{50}-[a-z0-9]{25}",  # ClickUp, Docker Swarm
    # Secret stores
    r"hv[sbr]\.[\w-]{24,320}+",  # Vault
    rf"s\.(?=[A-Za-z]{{0,23}}\d){_ANY}{{24}}(?!\w)",
    r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,60}+",
    rf"st\.{_HEX}{{24}}\.{_HEX}{{32}}\.{_HEX}{{32}}|0\.{_UUID}\.{_ANY}{{30}}:{_BASE64}{{22}}==",  # Infisical, Bitwarden
    rf"dapi{_HEX}{{32}}(?:-\d)?|dose{_HEX}{{32}}|pscale_(?:tkn|oauth|pw)_[\w=.-]{{32,64}}+",  # Databricks, PlanetScale
    rf"ops_eyJ{_BASE64}{{100,4096}}+={{0,3}}|A3-[A-Z0-9]{{6}}-(?:[A-Z0-9]{{11}}|[A-Z0-9]{{6}}-[A-Z0-9]{{5}})(?:-[A-Z0-9]{{5}}){{3}}",
    r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"mdb_sa_(?:sk|id)_[\w-]{20,64}+|dbt[cu]_[\w-]{30,64}+|essu_[\w+/=-]{40,256}+",  # MongoDB, dbt, Elastic
    # Chat, mail and phone
    r"xox[a-z](?:\.xox[bp])?-(?=[\w%-]{0,63}?\d)[\w%-]{10,256}+|xapp-\d-[\w-]{10,256}+|xwfp-[\w-]{20,256}+",  # Slack
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w+/]{20,80}+",
    rf"SG\.[\w=.-]{{66}}|x(?:keys|smtps)ib-{_HEX}{{64}}-{_ANY}{{16}}",  # SendGrid, Brevo
    r"SK[0-9a-fA-F]{32}(?!\w)|AC[0-9a-f]{32}(?!\w)",  # Twilio
    rf"key-{_HEX}{{32}}(?!\w)|pubkey-{_HEX}{{32}}(?!\w)|s-s4t2(?:ud|af)-{_HEX}{{64}}",  # Mailgun, Intra42
    rf"md-{_MIXED}[\w-]{{22}}{_END}|re_{_MIXED}{_ANY}{{6,12}}_{_ANY}{{20,30}}(?!\w)",  # Mandrill, Resend
    rf"dG9r{_BASE64}{{48,64}}={{0,2}}(?![\w=])|u\+{_MIXED}[\w+-]{{18}}(?![\w+-])",  # Intercom, PagerDuty
    rf"sec-c-{_BASE64}{{40,64}}={{0,2}}|os_v2_(?:app|org)_[a-z0-9]{{60,120}}+",  # PubNub, OneSignal
    rf"KEY0[0-9A-F]{{31}}_{_ANY}{{22}}",  # Telnyx
    # Payment and shops
    rf"[sr]k_(?:live|test|prod|sbox)_{_ANY}{{10,250}}+|whsec_[\w+/=]{{24,96}}+",  # Stripe and others
    r"shp[a-z]{2}_[0-9a-fA-F]{32,64}+",  # Shopify
    r"sq0[a-z]{3}-[\w-]{22,64}+|EAAA(?=[\w-]{0,63}?[a-z])[\w-]{22,64}+",  # Square
    rf"EAA[A-Z]{_ANY}{{32,1024}}+",  # Meta
    rf"access_token\$(?:production|sandbox|live|development)\${_ANY}{{12,20}}\${_HEX}{{32}}",  # Braintree, PayPal
    rf"EZ[AT]K{_ANY}{{54}}|FLW(?:SECK|PUBK)(?:_TEST)?-{_ANY}{{12,32}}(?:-X)?|shippo_(?:live|test)_[0-9a-fA-F]{{40}}",
    rf"duffel_(?:test|live)_[\w=-]{{43}}|live_{_MIXED}[\w=-]{{40}}|live_(?:pub_)?{_HEX}{{31,35}}(?!\w)",
    rf"test_(?:pub_)?{_HEX}{{31,35}}(?!\w)|live_{_MIXED}{_ANY}{{30,48}}(?!\w)|test_{_MIXED}{_ANY}{{30,48}}(?!\w)",
    rf"access-(?:sandbox|development|production)-{_UUID}",  # Plaid
    rf"AQE{_BASE64}{{60,400}}+={{0,2}}|rzp_(?:live|test)_{_ANY}{{14}}",  # Adyen, Razorpay
    rf"pdl_(?:live|sdbx)_apikey_{_ANY}{{20,30}}_{_ANY}{{20,30}}_{_ANY}{{3}}|xnd_(?:production|development)_{_ANY}{{30,80}}+",
    rf"cfsk_ma_(?:prod|test)_{_ANY}{{32}}_{_HEX}{{8}}|polar_[a-z]{{2,4}}_{_ANY}{{32,64}}+",  # Cashfree, Polar
    # Models
    rf"sk-(?:ant|proj|svcacct|admin|None|or|lf|helicone)-[\w-]{{20,256}}+|sk-{_ANY}{{20,64}}+(?![\w-])|sk_{_HEX}{{48}}(?!\w)",
    rf"pplx-{_ANY}{{48}}|hf_{_ANY}{{30,40}}+|gsk_{_ANY}{{52}}|xai-{_ANY}{{80}}|r8_{_ANY}{{37}}|api_org_[A-Za-z]{{34}}",
    rf"lsv2_[ps][tk]_{_HEX}{{32}}_{_HEX}{{10}}|ls__{_HEX}{{32}}|tvly-(?:(?:dev|prod)-)?{_MIXED}[\w-]{{24,64}}+",
    r"pcsk_\w{40,100}+|nvapi-[\w-]{40,100}+|tgp_v1_[\w-]{32,64}+|jina_[\w-]{50,70}+|wandb_v1_[\w-]{40,100}+",
    rf"fc-{_HEX}{{32}}(?!\w)|fw_{_MIXED}{_ANY}{{22,32}}(?!\w)|csk-{_ANY}{{40,64}}+|pa-{_MIXED}[\w-]{{43}}{_END}",
    rf"apify_api_{_ANY}{{30,44}}+|e2b_{_HEX}{{40}}|llx-{_ANY}{{40,60}}+|rpa_[0-9A-Z]{{30,60}}+|bb_live_[\w-]{{20,40}}+",
    # Watching
    r"dt0[a-z]\d\d\.[0-9A-Za-z]{24}\.[0-9A-Za-z]{64}|eyJrIjoi[A-Za-z0-9]{70,400}+={0,3}|gl(?:c|sa)_[A-Za-z0-9+/_]{32,400}+={0,3}",
    r"NR(?:AK|II|JS|RA|AL|BR|AA|SP|IQ)-[0-9A-Za-z-]{19,40}+|p8e-[0-9A-Za-z]{32}|fio-u-[\w=-]{64}|4b1d[0-9A-Za-z]{38}(?!\w)",
    rf"dd(?:pat|app|api|sat|og|w)_{_ANY}{{32,64}}+|ph[cxsrae]_{_ANY}{{36,64}}+|hc[ab][a-z]{{2}}_{_ANY}{{50,64}}+",
    rf"pylf_v\d_[a-z]{{2,8}}_{_ANY}{{40,48}}|xa[ai]t-{_UUID}|ion_[a-z0-9]{{42}}",  # Logfire, Axiom, Ionic
    rf"(?:sdk|mob|api|rel)-{_UUID}|secret-(?:live-|test-)?{_MIXED}[\w=-]{{32,64}}+|console-{_MIXED}{_ANY}{{40,64}}+",
    # Documents, maps and the rest
    rf"ntn_{_ANY}{{46}}|secret_{_ANY}{{43}}(?!\w)|tfp_[\w.=-]{{59}}|sm_[aps]at_{_ANY}{{16}}|sl\.[\w=-]{{60,160}}+",
    rf"pat{_ANY}{{14}}\.{_HEX}{{64}}|key{_MIXED}{_ANY}{{14}}{_END}|pat-[a-z]{{2}}\d-{_UUID}",  # Airtable, HubSpot
    rf"CFPAT-[\w-]{{43,64}}+|aio_{_ANY}{{28}}{_END}|b_{_MIXED}[\w=-]{{44}}(?![\w=-])",  # Contentful, Adafruit, Beamer
    r"[ps]k\.(?:[a-z0-9]{60}|eyJ[\w-]{20,256})\.[\w-]{22,64}+|dnkey-[\w=-]{26}-[\w=-]{52}|tskey-[a-z]{2,12}-[\w-]{16,64}+",
    r"IG(?:QV|QW|AA)[\w-]{80,400}+|AAAAAAAAAA(?:[\w%]|[ ]{3}){40,200}+",  # Instagram, Twitter
    rf"waka_{_UUID}|li[po]_{_ANY}{{20,48}}+",  # WakaTime, Lichess
    rf"1/\d{{13,17}}(?:/\d{{13,17}})?:{_HEX}{{32}}|2/\d{{13,17}}(?:/\d{{13,17}})?:{_HEX}{{32}}",  # Asana
    r"(?:sc|ext|scauth|authress)_[a-zA-Z0-9]{5,30}\.[a-zA-Z0-9]{4,6}\.acc[_-][a-zA-Z0-9-]{10,32}\.[\w+/=-]{30,120}+",
)


def _initials(form: str) -> list[tuple[str, str]]:
    """Return the alternatives of a form, each as its first character and the rest."""
    alternatives = [""]
    depth = 0
    for part in re.findall(r"\\.|\[[^\]]*\]|.", form):
        depth += (part[0] == "(") - (part[0] == ")")
        if part == "|" and not depth:
            alternatives.append("")
        else:
            alternatives[-1] += part
    split: list[tuple[str, str]] = []
    for alternative in alternatives:
        if group := re.match(r"\(\?:([\w|]+)\)", alternative):
            split += [(word[0], word[1:] + alternative[group.end() :]) for word in group[1].split("|")]
        elif group := re.match(r"\[(\w+)\]", alternative):
            split += [(initial, alternative[group.end() :]) for initial in group[1]]
        else:
            split.append((alternative[0], alternative[1:]))
    return split


def _by_initial(forms: tuple[str, ...]) -> str:
    """Join the forms under their first characters: a search then asks one question a word, not one a vendor."""
    pairs = sorted((pair for form in forms for pair in _initials(form)), key=itemgetter(0))
    grouped = groupby(pairs, key=itemgetter(0))
    return "|".join(f"{initial}(?:{'|'.join(rest for _, rest in group)})" for initial, group in grouped)


VENDOR_KEYS: Final = re.compile(rf"(?<![0-9A-Za-z])(?=[\w.+=~:|/$%-]{{15}})(?:{_by_initial(_FORMS)})", re.ASCII)
"""Finds the keys that start with a word of their vendor; the look-ahead skips words that are too short to be one."""

_AZURE: Final = ("AzFu", "AzSe", "AzCa", "+ASb", "ACDb", "APIM")
_INNER: Final = (
    r"[\w~.]{3}\dQ~[\w~.-]{31,34}(?![\w~-])",  # Entra ID
    rf"{_ANY}{{14}}\.atlasv1\.[\w=-]{{60,70}}+",  # Terraform
    rf"{_ANY}{{6}}_{_ANY}{{29}}_mmk(?!\w)",  # MaxMind
    rf"{_HEX}{{32}}-us\d{{1,2}}(?!\w)",  # Mailchimp
    rf"{_HEX}{{36}}NRAL",  # New Relic
    r"(?:bot)?\d{5,16}+(?::|%3A)A[\w-]{34}(?![\w-])",  # Telegram
    rf"GenieKey[ ]{_UUID}",  # Opsgenie
    r"SSWS[ ]00[\w=-]{30,48}+",  # Okta
    rf"{_ANY}{{52}}JQQJ9[0-9D]{_ANY}{{18,40}}(?!\w)",  # Azure: DevOps, OpenAI
    rf"(?<![+-]){_BASE64}{{86}}==(?![\w=])",  # Azure: storage, Cosmos
    rf"(?<![+-]){_BASE64}{{33,76}}(?:{'|'.join(map(re.escape, _AZURE))}){_BASE64}{{5,7}}={{0,2}}(?![\w=])",
)
_RARE: Final = ("Q~", ".atlasv1.", "_mmk", "-us", "NRAL", ":A", "%3AA", "GenieKey ", "SSWS 00", "JQQJ9", "==", *_AZURE)
_START: Final = "(?<![0-9A-Za-z])"

INNER_KEYS: Final = (
    (re.compile(f"{_START}(?:{'|'.join(_INNER)})", re.ASCII), _RARE),
    (re.compile(rf"{_START}{_HEX}{{32}}-{_HEX}{{8}}-{_HEX}{{8}}(?![\w-])", re.ASCII), ("-",)),  # Mailgun
    (re.compile(rf"{_START}\d{{15,16}}(?:\||%7C|%)[\w-]{{27,40}}(?![\w-])", re.ASCII), ("|", "%")),  # Meta
    (
        re.compile(r"[MNO](?<![0-9A-Za-z].)(?=[\w.-]{0,70}?\d)[\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])", re.ASCII),
        (".",),  # Discord
    ),
)
"""Finds the keys whose mark is inside or at the end, and what a text must contain before a search is worth it."""
