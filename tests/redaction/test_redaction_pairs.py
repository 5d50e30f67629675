from __future__ import annotations

import pytest

from asgi_infra.redaction import Redactor

SECRET = "Zq7!secretX9"

FORMS = [
    'password = """{}"""',
    "password='''{}'''",
    '<add key="Password" value="{}" />',
    '<entry name="fooToken" value="{}"/>',
    '<entry>\n  <name="fooToken" />\n  <value="{}" />\n</entry>',
    "<name>password</name><value>{}</value>",
    "<password>{}</password>",
    '<property name="password">{}</property>',
    '<input type="password" name="password" value="{}">',
    'msg {{"name":"password","value":"{}"}} x',
    'msg {{\\"name\\":\\"password\\",\\"value\\":\\"{}\\"}} x',
    "{{'name': 'DB_PASSWORD', 'value': '{}'}} x",
    "- name: DB_PASSWORD\n  value: {}\n- name: A\n  value: b",
    'Content-Disposition: form-data; name="password"\r\n\r\n{}\r\n--xx',
    "b'form-data; name=\"password\"\\r\\n\\r\\n{}\\r\\n--xx'",
    "['mysql', '--password', '{}']",
    "run --password {} -v",
    "mysql -u root -p{} db",
    "sshpass -p {} ssh x",
    "docker login -u a -p {} registry.example.org",
    "redis-cli -h x -a {}",
    "ldapsearch -x -w {} -b dc=example",
    "machine example.org login bob password {}",
    "CREATE USER bob IDENTIFIED BY '{}'",
    "password -> {}",
    "the password is {}",
    "Password is: {}.",
    'token was "{}"',
    "PASSWORD '{}'",
    'private_key "{}";',
    'set_password("{}")',
    'var fooToken: string = "{}"',
    'fooToken ??= "{}"',
    "password%3D{}",
    "private_ai_key={}",
    "DD_APPLICATION_KEY={}",
    "_gitlab_session={}",
    "BUNDLE_GEMS__CONTRIBSYS__COM={}",
    "Authorization: SSWS {}",
    "authorization: Key {}",
    "Authorization: GenieKey {}",
    "Authorization: AWS AKID:{}=",
    "Authorization: PRIVATE-TOKEN {}",
    "Authorization: ApiKey id,secret={}",
    "Authorization: Negotiate {}",
    '"Authorization": "Bot {}"',
    "{{'authorization': 'Key {}'}} x",
    "-H 'Authorization: Key {}'",
    "Authorization=Splunk {}",
    "Proxy-Authorization: Foo {}",
    "PRIVATE-TOKEN: {}",
    "Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={}",
    'Authorization: Digest username="a", response="{}"',
    'Authorization: Foo a="b", c="{}"',
    "password=[REDACTED:x]{}",
    "password=[REDACTED:a:b]{}",
    "token=[pw:abc123]{}",
    "password=REDACTED{}",
    "password=[CYCLE]{}",
    "[CYCLE]password={}",
    "password[CYCLE]={}",
    "Cookie: [REDACTED:cookie]; foo={}",
    "postgres://[a:{}]@host/x",
]

HARMLESS = [
    "the token is 12 characters long",
    "password is required",
    "token is well-formed",
    "password is case-sensitive",
    "the secret is out",
    "your password is expired",
    "token is None",
    "token was revoked at 12:00",
    "session is 5 minutes old",
    "secrets are loaded from vault-2",
    "pass=12 fail=0",
    "pass: 12 fail: 3",
    "tokens=512",
    "tokens: 123",
    "secrets: 3",
    "cookies: 3",
    "auth=True",
    "auth: disabled",
    "auth=oauth2",
    "docker run -u 1000:1000 image",
    "docker run -u www-data:www-data image",
    "rsync -u a:b c:d",
    "mysql -u root -p",
    "mysql -u root --port 3306",
    "python -u script.py",
    "def f(token: str) -> str: ...",
    "x -> password",
    "Authorization: required",
    "authorization: failed for user bob",
    '{"name":"bob","value":"x1"} y',
    "- name: PATH\n  value: /bin",
    'unexpected token "end" at line 3',
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_every_notation_and_the_result_is_stable(form: str) -> None:
    redactor = Redactor()
    out = redactor(form.format(SECRET))
    assert "secretX9" not in out
    assert "REDACTED" in out
    assert redactor(out) == out


@pytest.mark.parametrize("text", HARMLESS)
def test_sentences_counts_and_switches_stay(text: str) -> None:
    assert Redactor()(text) == text


def test_the_scheme_of_an_unknown_authorization_goes_with_its_credential() -> None:
    assert Redactor()("Authorization: Splunk abc.def next=1") == "Authorization: [REDACTED:authorization] next=1"
