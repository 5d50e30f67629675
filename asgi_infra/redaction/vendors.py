"""The forms of the keys and tokens of common vendors, from their own documentation and from what secret scanners know.

Every form starts with a literal or a class of fixed width and has bounded quantifiers only, so a search takes linear
time.
"""

from __future__ import annotations

import re
from typing import Final

_HEX: Final = "[0-9a-f]"
_ANY: Final = "[0-9A-Za-z]"
_UUID: Final = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

_FORMS: Final = (
    # Clouds
    r"A(?:3T[A-Z0-9]|KIA|SIA|BIA|CCA|GPA|ROA)[A-Z0-9]{16}(?![0-9A-Za-z])",  # AWS
    r"AIza[\w-]{35}(?!\w)",  # Google
    r"GOCSPX-[\w-]{28}",
    r"ya29\.[\w-]{20,1024}+",
    rf"LTAI{_ANY}{{12,24}}(?![0-9A-Za-z])",  # Alibaba
    r"AQVN[\w-]{35,38}(?![\w-])",  # Yandex
    r"YC[\w-]{38}(?![\w-])",
    r"t1\.[\w-]{1,512}+={0,2}\.[\w-]{86}={0,2}",
    rf"do[opr]_v1_{_HEX}{{64}}",  # DigitalOcean
    rf"v1\.0-{_HEX}{{24}}-{_HEX}{{146}}",  # Cloudflare
    r"HRKU-AA[\w-]{58}",  # Heroku
    r"fo1_[\w-]{43}",  # Fly
    r"fm[12][ar]?_[A-Za-z0-9+/]{100,4096}+={0,3}",
    # Scalingo, Netlify, Supabase, OpenShift
    rf"tk-us-[\w-]{{48}}|nfp_{_ANY}{{36}}|sbp_{_HEX}{{40}}|sha256~[\w-]{{43}}(?![\w-])",
    # Code and packages
    rf"gh[pousr]_{_ANY}{{36,255}}+|github_pat_\w{{22,255}}+",  # GitHub
    r"gl(?:pat|dt|ft|rt|cbt|ptt|agent|oas|ffct|imt|soat|iat)-[\w.-]{20,320}+|GR1348941[\w-]{20,64}+",  # GitLab
    rf"npm_{_ANY}{{36}}|pypi-[\w-]{{50,1024}}+|rubygems_{_HEX}{{48}}|CLOJARS_{_ANY}{{60}}|dckr_[po]at_[\w-]{{27,64}}+",
    rf"AKCp{_ANY}{{60,80}}+|cmVmd{_ANY}{{59}}|API-[A-Z0-9]{{26}}(?!\w)|sgp_(?:{_ANY}{{5,16}}_)?[0-9a-fA-F]{{40}}",
    rf"pul-{_HEX}{{40}}|pnu_{_ANY}{{36}}|ATATT3[\w=-]{{50,250}}+|lin_api_{_ANY}{{40}}|sntry[su]_[\w+/=]{{40,600}}+",
    rf"PMAK-[0-9a-fA-F]{{24}}-[0-9a-fA-F]{{34}}|rdme_[a-z0-9]{{70}}|ico-{_ANY}{{32}}|figd_[\w-]{{40,64}}+",
    rf"pat\.[\w-]{{22}}\.{_ANY}{{24}}\.{_ANY}{{20}}|sat\.[\w-]{{22}}\.{_ANY}{{24}}\.{_ANY}{{20}}",  # Harness
    # Secret stores
    r"hv[sbr]\.[\w-]{24,320}+",  # Vault
    rf"s\.(?=[A-Za-z]*\d){_ANY}{{24}}(?!\w)",
    rf"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{{40,60}}+|dapi{_HEX}{{32}}(?:-\d)?|pscale_(?:tkn|oauth|pw)_[\w=.-]{{32,64}}+",
    r"ops_eyJ[A-Za-z0-9+/]{100,4096}+={0,3}|A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}",
    r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    # Chat, mail and phone
    r"xox[abeoprs](?:\.xox[bp])?-[\w-]{10,256}+|xapp-\d-[\w-]{10,256}+",  # Slack
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[\w+/]{20,80}+",
    rf"SG\.[\w=.-]{{66}}|xkeysib-{_HEX}{{64}}-{_ANY}{{16}}|SK[0-9a-fA-F]{{32}}(?!\w)",  # SendGrid, Brevo, Twilio
    rf"key-{_HEX}{{32}}(?!\w)|pubkey-{_HEX}{{32}}(?!\w)|s-s4t2(?:ud|af)-{_HEX}{{64}}",  # Mailgun, Intra42
    # Payment and shops; the second line is Shopify, Square and Meta
    rf"[sr]k_(?:live|test|prod)_{_ANY}{{10,250}}+|whsec_[\w+/=]{{24,64}}+",  # Stripe
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,64}+|sq0(?:atp|csp)-[\w-]{22,64}+|EAA[A-Z][\w-]{22,1024}+",
    rf"EZ[AT]K{_ANY}{{54}}|FLW(?:SECK|PUBK)(?:_TEST)?-{_ANY}{{12,32}}(?:-X)?|shippo_(?:live|test)_[0-9a-fA-F]{{40}}",
    rf"duffel_(?:test|live)_[\w=-]{{43}}|live_[\w=-]{{40}}|(?:live|test)_(?:pub_)?{_HEX}{{31,35}}(?!\w)",
    rf"access-(?:sandbox|development|production)-{_UUID}",  # Plaid
    # Models
    rf"sk-(?:ant|proj|svcacct|admin|or|lf)-[\w-]{{20,256}}+|sk-{_ANY}{{20,64}}+(?![\w-])|pplx-{_ANY}{{48}}|hf_[A-Za-z]{{30,40}}+",
    rf"gsk_{_ANY}{{52}}|xai-{_ANY}{{80}}|r8_{_ANY}{{37}}|api_org_[A-Za-z]{{34}}|lsv2_[ps][tk]_{_HEX}{{32}}_{_HEX}{{10}}",
    # Watching, maps and the rest
    r"dt0[a-z]\d\d\.[0-9A-Za-z]{24}\.[0-9A-Za-z]{64}|eyJrIjoi[A-Za-z0-9]{70,400}+={0,3}|gl(?:c|sa)_[A-Za-z0-9+/_]{32,400}+={0,3}",
    r"NR(?:AK|II|JS|RA|AL|BR)-[0-9A-Za-z-]{19,40}+|p8e-[0-9A-Za-z]{32}|fio-u-[\w=-]{64}|4b1d[0-9A-Za-z]{38}(?!\w)",
    rf"ntn_{_ANY}{{46}}|secret_{_ANY}{{43}}(?!\w)|tfp_[\w.=-]{{59}}|sm_[aps]at_{_ANY}{{16}}|sl\.[\w=-]{{60,160}}+",
    r"[ps]k\.(?:[a-z0-9]{60}|eyJ[\w-]{20,256})\.[\w-]{22,64}+|dnkey-[\w=-]{26}-[\w=-]{52}|tskey-[a-z]{2,12}-[\w-]{16,64}+",
    r"[\w~.]{3}\dQ~[\w~.-]{31,34}(?![\w~-])",  # Entra ID
    rf"{_ANY}{{14}}\.atlasv1\.[\w=-]{{60,70}}+|{_ANY}{{6}}_{_ANY}{{29}}_mmk(?!\w)",  # Terraform, MaxMind
    rf"{_HEX}{{32}}-us\d{{1,2}}(?!\w)|\d{{5,16}}+:A[\w-]{{34}}(?![\w-])",  # Mailchimp, Telegram
    r"\d{15,16}[|%][\w-]{27,40}(?![\w-])|[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])",  # Meta, Discord
    r"(?:sc|ext|scauth|authress)_[a-zA-Z0-9]{5,30}\.[a-zA-Z0-9]{4,6}\.acc[_-][a-zA-Z0-9-]{10,32}\.[\w+/=-]{30,120}+",
)


VENDOR_KEYS: Final = re.compile(rf"(?<![0-9A-Za-z])(?=[\w.+=~:|-]{{15}})(?:{'|'.join(_FORMS)})", re.ASCII)
"""Finds any of the keys; the look-ahead skips all words that are too short to be one."""
