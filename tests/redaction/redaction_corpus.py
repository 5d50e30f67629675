"""Invented private data of each kind, harmless look-alikes, and hostile texts."""

from __future__ import annotations

import base64
import json
import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

DIGITS, HEX, LOWER, ALNUM, UPPER = (
    string.digits,
    "0123456789abcdef",
    string.ascii_lowercase + string.digits,
    string.ascii_letters + string.digits,
    string.ascii_uppercase + string.digits,
)
WORD = ALNUM + "_-"

VENDOR_FORMS = {
    "aws": ("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "aws session": ("ASIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "google": ("AIza", WORD, 35),
    "google oauth": ("GOCSPX-", WORD, 28),
    "alibaba": ("LTAI", LOWER, 20),
    "digitalocean": ("dop_v1_", HEX, 64),
    "heroku": ("HRKU-AA", WORD, 58),
    "fly": ("fo1_", WORD, 43),
    "openshift": ("sha256~", WORD, 43),
    "github": ("ghp_", ALNUM, 36),
    "github app": ("ghs_", ALNUM, 36),
    "github fine": ("github_pat_", ALNUM + "_", 82),
    "gitlab": ("glpat-", WORD, 20),
    "gitlab runner": ("glrt-", WORD, 20),
    "gitlab trigger": ("glptt-", HEX, 40),
    "npm": ("npm_", LOWER, 36),
    "pypi": ("pypi-AgEIcHlwaS5vcmc", WORD, 60),
    "rubygems": ("rubygems_", HEX, 48),
    "artifactory": ("AKCp", ALNUM, 69),
    "octopus": ("API-", UPPER, 26),
    "pulumi": ("pul-", HEX, 40),
    "atlassian": ("ATATT3", WORD + "=", 186),
    "linear": ("lin_api_", LOWER, 40),
    "sentry": ("sntryu_", HEX, 64),
    "readme": ("rdme_", LOWER, 70),
    "vault": ("hvs.", WORD, 96),
    "doppler": ("dp.pt.", LOWER, 43),
    "databricks": ("dapi", HEX, 32),
    "planetscale": ("pscale_tkn_", ALNUM, 43),
    "slack bot": ("xoxb-1234567890123-", DIGITS, 13),
    "slack app": ("xapp-1-A0123456789-1234567890123-", HEX, 64),
    "sendgrid": ("SG.", LOWER + "_-.", 66),
    "twilio": ("SK", HEX, 32),
    "mailgun": ("key-", HEX, 32),
    "stripe": ("sk_live_", ALNUM, 24),
    "stripe restricted": ("rk_test_", ALNUM, 24),
    "shopify": ("shpat_", HEX, 32),
    "square": ("sq0atp-", WORD, 22),
    "meta": ("EAAC", ALNUM, 120),
    "easypost": ("EZAK", ALNUM, 54),
    "shippo": ("shippo_live_", HEX, 40),
    "duffel": ("duffel_test_", WORD, 43),
    "anthropic": ("sk-ant-api03-", WORD, 95),
    "openai": ("sk-proj-", WORD, 150),
    "perplexity": ("pplx-", ALNUM, 48),
    "huggingface": ("hf_", string.ascii_letters, 34),
    "groq": ("gsk_", ALNUM, 52),
    "dynatrace": ("dt0c01.ABCDEFGHIJKLMNOPQRSTUVW2.", UPPER, 64),
    "grafana": ("glsa_", ALNUM + "_", 41),
    "new relic": ("NRAK-", UPPER, 27),
    "adobe": ("p8e-", LOWER, 32),
    "frameio": ("fio-u-", WORD, 64),
    "notion": ("ntn_", ALNUM, 46),
    "typeform": ("tfp_", WORD, 59),
    "prefect": ("pnu_", ALNUM, 36),
    "infracost": ("ico-", ALNUM, 32),
    "age": ("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "terraform": ("a1B2c3D4e5F6g7.atlasv1.", WORD, 64),
    "telegram": ("123456789:A", WORD, 34),
    "entra": ("a1b8Q~", ALNUM, 34),
}

ASSIGNMENTS = (
    '{name}Token="{secret}"',
    "{name}Token = {secret}",
    '{{\n  "{name}_token": "{secret}"\n}}',
    '{{\\"{name}_token\\": \\"{secret}\\"}}',
    "<{name}Token>{secret}</{name}Token>",
    "<{name}Token>\n  {secret}\n</{name}Token>",
    "{name}_token: {secret}",
    "{name}_token: '{secret}'",
    "{name}_token: |\n  {secret}",
    "{name}_token: >\n  {secret}",
    'string {name}Token = "{secret}";',
    'var {name}Token string = "{secret}"',
    "{name}Token := `{secret}`",
    '${name}Token .= "{secret}"',
    '{name}_token: str = "{secret}"',
    "{name}Token,{secret},",
    '"{name}Token" => "{secret}"',
    "{NAME}_TOKEN ::= {secret}",
    '{NAME}_TOKEN ?= "{secret}"',
    "--{name}-token {secret} --verbose",
    "--{name}-token={secret}",
    "https://api.example.org/v1?page=2&{name}_token={secret}&x=1",
)

IBAN_FORMS = {
    "AD": "8n12c", "AL": "8n16c", "AT": "16n", "BE": "12n", "CH": "5n12c", "CZ": "20n", "DE": "18n", "DK": "14n",
    "ES": "20n", "FI": "14n", "FR": "10n11c2n", "GB": "4a14n", "IE": "4a14n", "IT": "1a10n12c", "LC": "4a24c",
    "LU": "3n13c", "MT": "4a5n18c", "NL": "4a10n", "NO": "11n", "PL": "24n", "PT": "21n", "SE": "20n", "TR": "6n16c",
}  # fmt: skip
CARD_FORMS = [("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("36", 14), ("3528", 16)]
CARD_FORMS += [("62", 16), ("5018", 16), ("67", 16), ("305", 14), ("2200", 16), ("65", 16), ("4", 13)]


def text(chance: random.Random, alphabet: str, length: int) -> str:
    return "".join(chance.choice(alphabet) for _ in range(length))


def vendor_key(chance: random.Random, name: str) -> str:
    prefix, alphabet, length = VENDOR_FORMS[name]
    # Dashes and points at the ends would be punctuation of the text around.
    inner = ALNUM if alphabet.startswith(ALNUM) else alphabet.replace("_-.", "").replace("-", "")
    return prefix + text(chance, inner, 1) + text(chance, alphabet, length - 2) + text(chance, inner, 1)


def luhn_digit(digits: str) -> str:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card(chance: random.Random, *, valid: bool = True, separator: str = "") -> str:
    prefix, length = chance.choice(CARD_FORMS)
    digits = prefix + text(chance, DIGITS, length - len(prefix) - 1)
    check = luhn_digit(digits)
    digits += check if valid else str((int(check) + chance.randint(1, 9)) % 10)
    groups = (
        [digits[:4], digits[4:10], digits[10:]]
        if length in (14, 15)
        else [digits[index : index + 4] for index in range(0, length, 4)]
    )
    return separator.join(groups) if length != 13 else digits


def iban(chance: random.Random, *, valid: bool = True, grouped: bool = False) -> str:
    country = chance.choice(sorted(IBAN_FORMS))
    account = ""
    rest = IBAN_FORMS[country]
    while rest:
        count = rest[: len(rest) - len(rest.lstrip(DIGITS))]
        alphabet = {"n": DIGITS, "a": string.ascii_uppercase, "c": UPPER}[rest[len(count)]]
        account += text(chance, alphabet, int(count))
        rest = rest[len(count) + 1 :]
    number = int("".join(str(int(character, 36)) for character in f"{account}{country}00"))
    check = 98 - number % 97
    if not valid:
        check = (check + chance.randint(1, 90)) % 97 + 2
        if check == 98 - number % 97:
            check += 1
    whole = f"{country}{check:02}{account}"
    return " ".join(whole[index : index + 4] for index in range(0, len(whole), 4)) if grouped else whole


def ssn(chance: random.Random, separator: str = "-") -> str:
    area = chance.choice([number for number in range(1, 900) if number != 666])
    return f"{area:03}{separator}{chance.randint(1, 99):02}{separator}{chance.randint(1, 9999):04}"


def email(chance: random.Random) -> str:
    local = text(chance, LOWER, chance.randint(1, 12)) + chance.choice(["", ".x", "+tag", "_y", "-z"])
    labels = [text(chance, LOWER, chance.randint(1, 10)) for _ in range(chance.randint(1, 3))]
    return f"{local}@{'.'.join(labels)}.{chance.choice(['com', 'org', 'museum', 'co.uk', 'xn--p1ai', 'dev'])}"


PHONE_FORMS = """
+1 (2##) 2##-####|+1 2##-2##-####|+12##2######|+1.2##.2##.####|(2##) 2##-####|2##-2##-####|2##.2##.####|1-2##-2##-####
+44 20 #### ####|+44 7### ######|+447#########|020 #### ####|07### ######|(020) #### ####|0044 20 #### ####
+49 30 #######|+49 (0) 30 #######|+4930########|030/#######|0170/#######|+33 1 ## ## ## ##|+33 (0)1 ## ## ## ##
01 ## ## ## ##|+91 9#### #####|+919#########|+86 138 #### ####|+81 3-####-####|080-####-####|+55 11 9####-####
+61 4## ### ###|+353 1 ### ####|+972-9-#######|09-#######|+34 6## ## ## ##|+39 06 #### ####|+7 (495) ###-##-##
+1 2##-2##-#### x###|+1 2## 2## #### ext. ##|+358 40 #######|+65 6### ####|+52 55 #### ####
""".strip().replace("\n", "|")


def phone(chance: random.Random) -> str:
    form = chance.choice(PHONE_FORMS.split("|"))
    # The second digit of an area or an exchange is neither 9 nor 1.
    return re.sub(
        r"2#|#", lambda match: f"2{chance.randint(2, 8)}" if len(match[0]) == 2 else str(chance.randint(0, 9)), form
    )


def jwt(chance: random.Random) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()

    header = {"alg": chance.choice(["HS256", "RS256", "none"]), "typ": "JWT"}
    return f"{part(header)}.{part({'sub': text(chance, LOWER, 12), 'iat': 1})}.{text(chance, WORD, 43)}"


FRAMES = ("{}", "value {} seen", "({})", '"{}"', "a, {}, b", "first line\n{}\nthird line", "see {}.", "<{}>", "x={}")

HARMLESS = [
    "",
    "GET",
    "order created for the customer",
    "request completed: GET /items/42 200 in 12 ms",
    "2026-11-22T10:00:00.123456+00:00",
    "2026-11-22 10:00:00",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "10.0.0.1:8080",
    "127.0.0.1",
    "2001:db8::1",
    "1.2.3-beta.4+build.5",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "application/json; charset=utf-8",
    "https://example.org/items/42?page=2&sort=name#top",
    "/static/logo@2x.png",
    "user@localhost",
    "info@example.",
    "@app.get decorated",
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "Bearer authentication is required",
    "Basic authentication failed",
    "token: expired",
    "password must be at least 8 characters",
    "invalid token: missing signature",
    "password=%s user=%s",
    "password=${DB_PASSWORD}",
    "secret: None",
    "token_count=42 prompt_tokens=17",
    "author: someone",
    "session_count: 12",
    "secretary: Mrs Example",
    "key = AKIAXXXXXXXXXXXXXXXX",
    "TODAYINASIAASACKOFRICEFELLOVER",
    "eyeglasses-collection.example",
    "sk-fading-circle-animation-wrapper",
    "4012-8888-8888-1882",
    "36168002586008",
    "1234567890123456",
    "0780511201",
    "078-05-0000",
    "078 00 1123",
    "693-09.4444",
    "000-12-3456",
    "666-12-3456",
    "987-65-4321",
    "AD12000A2030200359100100",
    "GI75 aWBK 0000 0000 7099 453",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC example",
    "def f(a: int, b: str = 'x') -> None: ...",
    "SELECT id, name FROM users WHERE id = $1 AND age > 3",
    "took 1732269600 ns, 1732269600123 ms, 17322696001234567 ticks",
    "PART-12345-67890-ABCDE",
    "x" * 100,
    "a,b;c|d:e=f",
]

# Repeated to a megabyte, each of these is the start of something that never comes.
HOSTILE_UNITS = {
    "private_key": ["-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "-", "-----BEGIN PRIVATE KEY-----\n-----END"],
    "url_credentials": ["://", "://a:", "http://a:b", "a://b@", "://a:b"],
    "bearer": ["Bearer ", "Bearer a", "Bearer:", "bearer="],
    "basic": ["Basic aaaaaaaa", "Basic ", "aaaaaa/"],
    "credentials": [" -u a:", " -u", " --user 'a:", " -u a"],
    "jwt": ["eyJ", "eyJa.", "eyJaaaaaaaaaa.", "-eyJaaaaaaaa", "ZXlK"],
    "api_key": ["sk-", "AKIA", "a-", "_", "ghp_", "1234567890123456|", "0123456789abcdef-us", "Q~", ".atlasv1.", "t1."],
    "webhook": ["webhook.office.com/", "webhook.office.com/webhookb2/a"],
    "email": [
        "a",
        "a@",
        "a@a.",
        "a.",
        "@",
        "%40",
        "a%40",
        "a@a.a.a.a.a.a.a.a.a.a.a.",
        '"a',
        "=a@",
        "a'",
        "'a",
    ],
    "iban": ["GB29", "GB29 ", "A1", "aa11 ", "GB29NWBK"],
    "card": [
        "1 ",
        "4111 ",
        "0",
        "4111-",
        "41 ",
        "4111.",
        "4111111111111111 ",
    ],
    "ssn": ["078-05-", "078 ", "1-", "078-05-1123-"],
    "phone": [
        "+1",
        "+1 ",
        "(415) ",
        "0 1234 ",
        "0123-",
        "415-",
        "1 415 ",
    ],
    "ip": ["1.", "1.1.1.1", "::", "a:", "1.1.1.", ":1"],
}
# The same for 100 kB.
# fmt: off
MORE_HOSTILE_UNITS = {
    "card": ["4111 - ", "4111_", "1+", "card 4", "8101000000000004 "],
    "phone": ["00", "001 ", "01 ", "01 23 ", "+1 212 555 0123 x", "call 212 555 0123 ", "0123456789 ", "phone "],
    "ssn": ["ssn ", "ssn is no ", "social security "],
    "iban": ["GB29  ", "GB29.N-"],
    "email": ['"a b', "a@[IPv6:", "\u0905@\u0921\u093e."],
    "jwt": ["_eyJaaaaaaaa", "_eyJaaaaaaaa.", "_eyJ"],
    "webhook": ["/api/webhooks/1", "hooks.zapier.com/hooks/"],
    "private_key": [
        "---- BEGIN SSH2 PRIVATE KEY ----", "---- BEGIN SSH2 ", "Private-Lines: 1\n", "Private-Lines: 1\naaaa\n",
    ],
    "credentials": [
        "mysql ", "mysql -p", "sshpass ", "login a ", "login a password ", "identified by ", "identified with a ",
        "curl -u a:b ",
    ],
    "api_key": [
        "t1.a", "AKID", "sk_", "1//0", "1/1", "AAAA", "AAAAAAA:", "bot1:A", "M.a", "a==", "+ASb", "live_", "live_a",
        "xoxb-a", "snyk_uat.00000000.", "JQQJ9", "0.", "re_A", "0123456789abcdef0123456789abcdef-", "GenieKey ",
        "SSWS 00", "secret_", "hooks.slack.com/services/", "access_token$",
    ],
}
# fmt: on
# fmt: off
PAIRS = [
    "=", "a=", "a=\"", "password=", "password='", "password=,a", "token: ", "<token>", "--token ", "[", "{",
    "\\\"", "token=[", "credentials={", "cookie=a;", "a[b]", "\u00e9=", "token,", "[REDACTED:email]=", "]=",
    "{\"a\":", "\n:", "token is ", " is ", "token is a1 ", "token \"", "token '", "a=\"\"\"", "->", "token->",
    "%3D", "token%3D", "value=", "\"name\":\"token\",\"value\":", "name: token\n value: ",
    "form-data; name=token", "form-data;", "authorization: a ", "authorization: a b,c=", "password=[CYCLE]",
    "<a name=\"token\" value=\"x\"/>", "--token,", "cookie: [REDACTED:cookie];",
]
# fmt: on


def megabyte(unit: str) -> str:
    return unit * (1_000_000 // len(unit) + 1)
