"""Signed JWTs: the attacks of RFC 8725 fail, and what is good is read as it was meant."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from token_driver import DOWN, Moody, Visited, guarded, new_clock, request

from asgi_infra.errors import ConfigurationError
from asgi_infra.middleware.tokens import Tokens
from asgi_infra.testing import drive, http_scope
from asgi_infra.tokens.identity import CredentialsError, InvalidTokenError, MalformedCredentialsError
from asgi_infra.tokens.jwt import JWTVerifier
from asgi_infra.tokens.presented import CookieToken

CLOCK = new_clock()
NOW = int(CLOCK().timestamp())
SECRET = "an-example-secret-of-more-than-sixty-four-bytes-for-all-of-the-hashes-1"
EC = ECKey.generate_key("P-256", {"kid": "ec-1"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed-1"})
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example.org",
    "aud": "shop",
    "sub": "alice",
    "jti": "a-1",
    "iat": NOW,
    "exp": NOW + 300,
}
PARTIES: dict[str, Any] = {"issuer": "https://id.example.org", "audience": "shop", "clock": CLOCK}


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(claims: Any = None, key: Any = EC, alg: str = "ES256", **header: Any) -> str:
    payload = json.dumps(CLAIMS if claims is None else claims).encode() if not isinstance(claims, bytes) else claims
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    return jws.serialize_compact({"alg": alg, "typ": "JWT", **header}, payload, key, registry=registry)


def by_hand(header: dict[str, Any]) -> str:
    """Sign what a library would refuse to sign."""
    signing_input = f"{b64(header)}.{b64(CLAIMS)}"
    signature = jws.JWSRegistry(algorithms=["ES256"]).get_alg("ES256").sign(signing_input.encode(), EC)
    return f"{signing_input}.{b64(signature)}"


def test_what_is_signed_by_hand_is_good_when_nothing_is_wrong_with_it():
    assert verifier().verify(by_hand({"alg": "ES256", "typ": "JWT"})).jti == "a-1"


def without(*names: str, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **changes}.items() if name not in names}


def public(key: Any) -> dict[str, Any]:
    return key.as_dict(private=False)


def verifier(keys: Any = None, **options: Any) -> JWTVerifier:
    return JWTVerifier(public(EC) if keys is None else keys, **{"algorithms": ["ES256"], **PARTIES, **options})


# What is good


@pytest.mark.parametrize(
    ("alg", "key", "keys"),
    [
        ("ES256", EC, public(EC)),
        ("ES256", EC, EC.as_pem(private=False)),
        ("RS256", RSA, public(RSA)),
        ("RS256", RSA, RSA.as_pem(private=False).decode()),
        ("PS512", RSA, {"keys": [public(RSA), public(EC)]}),
        ("Ed25519", ED, [public(EC), public(ED)]),
        ("HS256", OctKey.import_key(SECRET), SECRET),
        ("HS512", OctKey.import_key(SECRET), OctKey.import_key(SECRET).as_dict()),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 9 else "",
)
def test_a_signed_token_is_read(alg, key, keys):
    identity = verifier(keys, algorithms=[alg]).verify(signed(key=key, alg=alg))
    assert (identity.jti, identity.user_id, identity.verified) == ("a-1", "alice", True)
    assert identity.expires_at == datetime.fromtimestamp(NOW + 300, UTC)
    assert dict(identity.claims) == CLAIMS


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # for the one who signs
def test_eddsa_is_known_by_its_older_name_without_a_warning(recwarn):
    token = signed(key=ED, alg="EdDSA")
    recwarn.clear()
    assert verifier(public(ED), algorithms=["EdDSA"]).verify(token).jti == "a-1"
    assert not recwarn.list


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_usual_types_are_accepted(typ):
    assert verifier().verify(signed(typ=typ)).jti == "a-1"


def test_a_missing_type_is_a_jwt():
    token = jws.serialize_compact({"alg": "ES256"}, json.dumps(CLAIMS), EC)
    assert verifier().verify(token).jti == "a-1"
    with pytest.raises(InvalidTokenError, match="type"):
        verifier(types=["at+jwt"]).verify(token)


@pytest.mark.parametrize("aud", ["shop", ["shop"], ["other", "shop"]])
def test_the_audience_is_one_of_several(aud):
    assert verifier(audience=["shop", "till"]).verify(signed({**CLAIMS, "aud": aud})).jti == "a-1"


def test_a_header_may_say_more_than_is_understood():
    assert verifier().verify(signed(kid="ec-1", x5t="abc", private="thing")).jti == "a-1"


def test_claims_have_the_names_that_you_choose():
    claims = without("sub", uid="bob", era="g-1")
    identity = verifier(user_claim="uid", generation_claim="era").verify(signed(claims))
    assert (identity.user_id, identity.generation) == ("bob", "g-1")


@pytest.mark.parametrize("field", ["exp", "nbf", "iat"])
def test_clocks_may_differ_by_the_leeway_and_no_more(field):
    near, far = (NOW - 29, NOW - 30) if field == "exp" else (NOW + 30, NOW + 31)
    assert verifier(leeway=30).verify(signed({**CLAIMS, field: near})).jti == "a-1"
    with pytest.raises(InvalidTokenError):
        verifier(leeway=30).verify(signed({**CLAIMS, field: far}))


# Attacks


def test_none_is_no_algorithm():
    for name in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", "AA"):
            token = f"{b64({'alg': name, 'typ': 'JWT'})}.{b64(CLAIMS)}.{signature}"
            with pytest.raises(InvalidTokenError):
                verifier().verify(token)


@pytest.mark.parametrize("form", ["pem", "pem as text", "jwk"])
def test_a_public_key_is_no_secret(form):
    """The classic: the server's public key, which anybody may know, as the secret of an HMAC."""
    pem = RSA.as_pem(private=False)
    secret = json.dumps(public(RSA)).encode() if form == "jwk" else pem
    header = {"alg": "HS256", "typ": "JWT"}
    signing_input = f"{b64(header)}.{b64(CLAIMS)}"
    import hashlib
    import hmac

    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    token = f"{signing_input}.{b64(signature)}"
    keys: Any = {"pem": pem, "pem as text": pem.decode(), "jwk": public(RSA)}[form]
    with pytest.raises(InvalidTokenError):
        verifier(keys, algorithms=["RS256"]).verify(token)
    with pytest.raises(ConfigurationError):
        verifier(keys, algorithms=["HS256"])
    with pytest.raises(ConfigurationError, match="mix"):
        verifier(keys, algorithms=["RS256", "HS256"])


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (ECKey.generate_key("P-256", {"kid": "ec-1"}), "ES256"),
        (ECKey.generate_key("P-384", {"kid": "ec-1"}), "ES384"),
        (RSA, "RS256"),
        (OctKey.import_key(SECRET, {"kid": "ec-1"}), "HS256"),
        (ED, "Ed25519"),
    ],
    ids=["another", "another curve", "another kind", "a secret", "another scheme"],
)
def test_another_key_is_no_key(key, alg):
    for header in ({}, {"kid": "ec-1"}):
        with pytest.raises(InvalidTokenError):
            verifier().verify(signed(key=key, alg=alg, **header))


def test_a_key_in_the_header_is_not_used():
    mine = ECKey.generate_key("P-256")
    for header in (
        {"jwk": public(mine)},
        {"jku": "https://evil.example.org/jwks"},
        {"x5u": "https://evil.example.org"},
    ):
        with pytest.raises(InvalidTokenError):
            verifier().verify(signed(key=mine, **header))


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": None}, {"b64": False, "crit": ["b64"]}]
)
def test_an_extension_that_is_critical_is_refused(header):
    with pytest.raises(InvalidTokenError):
        verifier().verify(by_hand({"alg": "ES256", "typ": "JWT", **header}))


@pytest.mark.parametrize("typ", ["dpop+jwt", "id_token", "logout+jwt", "JWE", "", None, 7, ["JWT"]])
def test_a_token_of_another_type_is_refused(typ):
    with pytest.raises(InvalidTokenError):
        verifier().verify(by_hand({"alg": "ES256", "typ": typ}))


@pytest.mark.parametrize(
    "claims",
    [
        *(without(name) for name in ("iss", "aud", "sub", "jti", "exp")),
        *({**CLAIMS, "iss": value} for value in ("https://id.example.org/", "", 7, ["https://id.example.org"])),
        *({**CLAIMS, "aud": value} for value in ("till", "", [], ["till"], [["shop"]], {"shop": 1}, 7, [None])),
        *({**CLAIMS, "exp": value} for value in (NOW - 31, str(NOW + 9), True, [], {}, -1, None)),
        *({**CLAIMS, "nbf": value} for value in (NOW + 31, "0", True)),
        *({**CLAIMS, "iat": value} for value in (NOW + 31, "0", [])),
        *({**CLAIMS, "jti": value} for value in ("", " ", 7, None, "a" * 256, "a\nb", "\ud800", ["a-1"])),
        *({**CLAIMS, "sub": value} for value in ("", " ", 7, None, "a" * 256, "a\x00b")),
        {**CLAIMS, "gen": 7},
    ],
)
def test_claims_that_are_missing_or_wrong_are_refused(claims):
    with pytest.raises(InvalidTokenError):
        verifier().verify(signed(claims))


@pytest.mark.parametrize("exp", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-" + "9" * 400])
def test_a_time_that_is_no_number_is_no_time(exp):
    payload = json.dumps(without("exp"))[:-1] + f', "exp": {exp}}}'
    with pytest.raises(InvalidTokenError):
        verifier().verify(signed(payload.encode()))


@pytest.mark.parametrize("exp", [10**18, 10**400, 1e300])
def test_a_far_future_is_a_time(exp):
    assert verifier().verify(signed({**CLAIMS, "exp": exp})).expires_at == datetime(
        9999, 12, 31, 23, 59, 59, tzinfo=UTC
    )


def test_a_claim_that_is_there_twice_is_refused():
    payload = json.dumps(CLAIMS)[:-1] + ', "sub": "root"}'
    with pytest.raises(InvalidTokenError):
        verifier().verify(signed(payload.encode()))


@pytest.mark.parametrize("payload", [b"", b"[]", b'"x"', b"null", b"\xff", b"{", b"[" * 3000, b"{}" * 2])
def test_a_payload_that_is_no_object_is_refused(payload):
    with pytest.raises(InvalidTokenError):
        verifier().verify(signed(payload))


def test_only_signed_tokens_in_the_compact_form_are_read():
    for text in ("", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "{}", signed() + "."):
        with pytest.raises(MalformedCredentialsError):
            verifier().verify(text)
    for text in ("..", "a.b.c", "é.é.é", f"{b64([])}.e30.AA", f"{b64({})}.e30.AA", f"{b64({'alg': 7})}.e30.AA"):
        with pytest.raises(InvalidTokenError):
            verifier().verify(text)


def test_a_token_that_is_too_long_is_not_even_looked_at():
    with pytest.raises(InvalidTokenError, match="too long"):
        verifier().verify("." * 8193)
    with pytest.raises(InvalidTokenError, match="too long"):
        verifier(max_length=100).verify(signed())


@given(at=st.integers(min_value=0), flip=st.integers(1, 255))
def test_a_token_that_was_changed_anywhere_is_refused_or_the_same(at, flip):
    token = signed()
    raw = bytearray(token.encode())
    raw[at % len(raw)] ^= flip
    try:
        identity = verifier().verify(raw.decode("latin-1"))
    except CredentialsError:
        return
    assert identity == verifier().verify(token)  # the unused bits at the end of base64


@given(text=st.text(max_size=60) | st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]{0,40}", fullmatch=True))
def test_whatever_is_presented_is_refused_as_a_credential(text):
    with pytest.raises(CredentialsError):
        verifier().verify(text)


# Keys


def test_a_key_set_answers_by_the_name_of_the_key():
    second = ECKey.generate_key("P-256", {"kid": "ec-2"})
    keys = KeySet([EC, second]).as_dict(private=False)
    assert verifier(keys).verify(signed(key=second, kid="ec-2")).jti == "a-1"
    for header in ({"kid": "ec-1"}, {"kid": "ec-3"}, {}):
        with pytest.raises(InvalidTokenError):
            verifier(keys).verify(signed(key=second, **header))


def test_keys_for_encryption_and_kinds_that_are_unknown_are_left_out():
    keys = {"keys": [{**public(RSA), "use": "enc"}, {"kty": "FUTURE"}, public(EC)]}
    assert verifier(keys).verify(signed()).jti == "a-1"
    with pytest.raises(ConfigurationError, match="RS256"):
        verifier(keys, algorithms=["RS256"])


def test_a_key_that_names_its_algorithm_is_for_that_one():
    key = RSAKey.import_key({**RSA.as_dict(private=True), "alg": "PS256"})
    keys = public(key)
    assert keys["alg"] == "PS256"
    with pytest.raises(ConfigurationError, match="RS256"):
        verifier(keys, algorithms=["RS256"])


def test_a_function_gives_the_present_keys():
    second = ECKey.generate_key("P-256", {"kid": "ec-2"})
    present = [public(EC)]
    reader = verifier(lambda: present)
    assert reader.verify(signed()).jti == "a-1"
    present = [public(second)]
    assert reader.verify(signed(key=second)).jti == "a-1"
    with pytest.raises(InvalidTokenError):
        reader.verify(signed())
    present = ["no key"]
    with pytest.raises(ConfigurationError):
        reader.verify(signed())


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": []},
        {"algorithms": "ES256"},
        {"algorithms": ["none"]},
        {"algorithms": ["ES256", "none"]},
        {"algorithms": ["ES999"]},
        {"algorithms": [7]},
        {"keys": ""},
        {"keys": []},
        {"keys": [7]},
        {"keys": 7},
        {"keys": "-----BEGIN PUBLIC KEY-----\nno key\n-----END PUBLIC KEY-----"},
        {"keys": SECRET},
        {"keys": {"kty": "EC"}},
        {"keys": {"keys": []}},
        {"keys": "short", "algorithms": ["HS256"]},
        {"keys": "x" * 31, "algorithms": ["HS256"]},
        {"keys": "x" * 63, "algorithms": ["HS512"]},
        {"keys": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC example", "algorithms": ["HS256"]},
        {"keys": public(ECKey.generate_key("P-384")), "algorithms": ["ES256"]},
        {"issuer": ""},
        {"issuer": 7},
        {"audience": []},
        {"audience": [""]},
        {"leeway": 301},
        {"leeway": "30"},
        {"types": []},
        {"user_claim": ""},
        {"generation_claim": None},
        {"max_length": 0},
        {"max_length": 10**9},
        {"clock": "now"},
    ],
    ids=lambda options: "-".join(options),  # keys are new in every process
)
def test_a_wrong_option_is_named_and_no_key_is_shown(options):
    with pytest.raises(ConfigurationError) as raised:
        verifier(options.pop("keys", None), **options)
    assert SECRET not in str(raised.value)
    assert "ssh-rsa A" not in str(raised.value)


@pytest.mark.parametrize("key", ["short", {"kty": "oct", "k": "c2hvcnQ"}])
def test_a_short_secret_is_an_error_and_no_warning_beside_it(key, recwarn):
    with pytest.raises(ConfigurationError, match=r"keys must hold one for HS256: .* at least 256 bits"):
        verifier(key, algorithms=["HS256"])
    assert not recwarn.list


def test_no_algorithm_at_all_is_shown_as_it_was_given():
    with pytest.raises(ConfigurationError, match=r"^algorithms must be a list such as \['ES256'\], not \[\]$"):
        verifier(algorithms=[])


def test_a_small_rsa_key_is_refused():
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    small = rsa.generate_private_key(65537, 1024).public_key()
    pem = small.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigurationError, match="RS256"):
        verifier(pem, algorithms=["RS256"])


def test_a_verifier_shows_no_key():
    assert repr(verifier(SECRET, algorithms=["HS256"])) == "JWTVerifier(algorithms=['HS256'])"


def test_without_an_audience_only_tokens_that_name_none_are_accepted():
    assert verifier(audience=None).verify(signed(without("aud"))).jti == "a-1"
    with pytest.raises(InvalidTokenError, match="audience"):
        verifier(audience=None).verify(signed())
    assert verifier(issuer=None).verify(signed(without("iss"))).jti == "a-1"


def test_without_joserfc_it_is_said_what_is_missing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "joserfc", None)
    with pytest.raises(ImportError, match=r"asgi-infra\[jwt\]"):
        verifier()


# With a store


class Setup:
    def __init__(self, **options: Any) -> None:
        self.store = Moody(clock=CLOCK)
        self.app = Visited()
        self.guard = guarded(self.app, self.store, extract=verifier(), mode="denied", clock=CLOCK, **options)

    async def status(self, claims: Any = None) -> int | None:
        return (await drive(self.guard, request(signed(claims)))).status


@pytest.mark.anyio
async def test_a_jwt_is_good_until_it_is_denied():
    setup = Setup()
    assert await setup.status() == 200
    await setup.store.deny("a-1", datetime.fromtimestamp(NOW + 300, UTC))
    assert await setup.status() == 401
    assert await setup.status({**CLAIMS, "jti": "a-2"}) == 200
    assert setup.app.users == ["alice", "alice"]
    assert setup.app.tokens[0].claims["aud"] == "shop"


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, 60])
async def test_all_of_a_users_jwts_end_with_their_generation(seconds):
    setup = Setup(cache_seconds=seconds)
    claims = {**CLAIMS, "gen": await setup.store.generation("alice")}
    assert await setup.status(claims) == 200
    await setup.store.renew_generation("alice")
    assert await setup.status(claims) == 401
    assert await setup.status({**CLAIMS, "gen": "guessed"}) == 401
    assert await setup.status() == 200


@pytest.mark.anyio
async def test_a_generation_can_be_demanded():
    setup = Setup(require_generation=True)
    assert await setup.status() == 401
    assert await setup.status({**CLAIMS, "gen": await setup.store.generation("alice")}) == 200


@pytest.mark.anyio
async def test_a_jwt_can_be_let_in_while_the_store_is_down_but_not_a_forged_one():
    setup = Setup(on_store_failure="open")
    setup.store.error = DOWN
    assert await setup.status() == 200
    assert (await drive(setup.guard, request(signed(key=ECKey.generate_key("P-256"))))).status == 401
    assert setup.app.users == ["alice"]


@pytest.mark.anyio
async def test_a_jwt_can_be_stored_too():
    from asgi_infra.tokens import StoredToken

    store, app = Moody(clock=CLOCK), Visited()
    guard = guarded(app, store, extract=verifier(), clock=CLOCK)
    assert (await drive(guard, request(signed()))).status == 401
    expires_at = datetime.fromtimestamp(NOW + 300, UTC)
    await store.save(StoredToken.issue("alice", jti="a-1", expires_at=expires_at, clock=CLOCK))
    assert (await drive(guard, request(signed()))).status == 200
    assert (await drive(guard, request(signed({**CLAIMS, "sub": "bob"})))).status == 401


@pytest.mark.anyio
async def test_a_jwt_can_come_in_a_cookie():
    reader = verifier(source=CookieToken("session"))
    assert reader.ambient
    guard = guarded(Visited(), Moody(clock=CLOCK), extract=reader, mode="denied", optional="/login", clock=CLOCK)
    headers = [(b"cookie", b"session=" + signed().encode())]
    assert (await drive(guard, http_scope(headers=headers))).status == 200
    assert (await drive(guard, http_scope(headers=[(b"cookie", b"session=a.b.c")]))).status == 401
    assert (await drive(guard, http_scope(path="/login", headers=[(b"cookie", b"session=a.b.c")]))).status == 200


@pytest.mark.anyio
async def test_a_function_of_yours_must_say_that_it_has_verified_a_token():
    from asgi_infra.tokens.identity import TokenIdentity

    app = Visited()
    guard = guarded(app, Moody(), extract=lambda scope: TokenIdentity(jti="x", user_id="alice"), mode="denied")
    assert (await drive(guard, request())).status == 503
    assert app.users == []


@pytest.mark.anyio
async def test_a_denied_token_does_not_come_back_while_its_verifier_still_accepts_it():
    lenient = verifier(leeway=120)
    with pytest.raises(ConfigurationError, match=r"^store must have a leeway of at least the verifier's"):
        Tokens(Moody(clock=CLOCK, leeway=119), extract=lenient, mode="denied", clock=CLOCK)
    clock = new_clock()
    store = Moody(clock=clock, leeway=120)
    app = Visited()
    late = verifier(leeway=120, clock=clock)
    guard = guarded(app, store, extract=late, mode="denied", clock=clock)
    identity = late.verify(signed(CLAIMS))
    await store.deny(identity.jti, identity.expires_at)
    for _ in range(43):
        assert (await drive(guard, request(signed(CLAIMS)))).status == 401
        clock.advance(10)
    assert app.users == []
