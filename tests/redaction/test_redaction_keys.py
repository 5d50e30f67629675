from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.errors import ConfigurationError
from asgi_infra.redaction.keys import MAX_NAME, KeyRules, words_of

PRIVATE = {
    "password": "password Password PASSWORD user_password userPassword db.password PassWord passwd pwd dbpwd"
    " X-Password passphrase newPassword2 password_hash",
    "token": "token access_token accessToken X-Auth-Token csrftoken refreshTokens id-token jwt csrf_value",
    "api_key": "apikey api_key API-KEY X-Api-Key APIKey AWSAccessKeyId ocp-apim-subscription-key",
    "secret": "secret client_secret clientSecret secrets SECRET_KEY",
    "private_key": "private_key sshPrivateKey",
    "authorization": "authorization Authorization HTTP_AUTHORIZATION Proxy-Authorization",
    "cookie": "cookie Cookie Set-Cookie cookies",
    "session": "session_id sessionid JSESSIONID PHPSESSID sid",
    "card": "card_number creditCard cvv card_cvc",
    "ssn": "ssn user_ssn social_security_number",
    "email": "email userEmail email_address",
    "phone": "phone phoneNumber contact-phone",
    "code": "otp pin_code verification_code user_pin",
    "credentials": "auth credentials aws_credentials dsn connectionString",
}
HARMLESS = (
    "author authority authenticated secretary token_count session_count tokenType token_expires_at max_tokens"
    " prompt_tokens total_tokens completionTokens password_changed_at has_password is_token password_length"
    " passwordless cookie_policy compass key primary_key cache_key sort_key keyboard monkey code status_code"
    " country_code error_code zip_code email_template email_sent phone_model pinned spin company panel signature"
    " session user_id tokenizer cookiecutter accessible hash path method route request_id trace_id"
)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PRIVATE.items() for name in names.split()])
def test_private_names_are_found_in_every_style(kind, name):
    assert KeyRules().kind(name) == kind


@pytest.mark.parametrize("name", HARMLESS.split())
def test_names_that_only_look_private_are_let_through(name):
    assert KeyRules().kind(name) == ""


def test_own_names_are_added_and_safe_names_taken_out():
    rules = KeyRules(keys=["customer ref", "x-vault"], safe_keys=["sessionId", "author_email"])
    assert rules.kind("oldCustomerRefNo") == "customer_ref"
    assert rules.kind("X_VAULT") == "x_vault"
    assert rules.kind("session_id") == rules.kind("authorEmail") == ""
    assert rules.kind("user_session_id") == "session"
    assert KeyRules(keys={"ref": "reference"}).kind("ref") == "reference"


def test_query_names_count_in_queries_only():
    assert KeyRules(query=True).kind("code") == "query"
    assert KeyRules().kind("code") == ""


@pytest.mark.parametrize("keys", ["password", b"password", [""], ["--"], [None], [1]])
@pytest.mark.parametrize("parameter", ["keys", "safe_keys"])
def test_names_that_can_not_match_are_refused(parameter, keys):
    with pytest.raises(ConfigurationError, match=parameter):
        KeyRules(**{parameter: keys})


def test_a_name_too_long_to_read_counts_as_private():
    assert KeyRules().kind("a" * (MAX_NAME + 1)) == "unknown"


def test_the_cache_is_bounded():
    rules = KeyRules()
    for number in range(10_000):
        rules.kind(f"name{number}")
    assert len(rules._cache) <= 4096


@given(st.text())
def test_any_name_is_decided_the_same_way_twice(name):
    rules = KeyRules()
    assert rules.kind(name) == rules.kind(name) == KeyRules().kind(name)


def test_words_are_found_in_every_style():
    assert words_of("someHTTPHeader-name_2.x") == ["some", "http", "header", "name", "2", "x"]
    assert words_of("\uff50\uff41\uff53\uff53word") == ["password"]
