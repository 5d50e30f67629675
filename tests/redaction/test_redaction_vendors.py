from __future__ import annotations

import random

import pytest
from vendor_corpus import LOOK_ALIKES, TEMPLATES, make

from asgi_infra.redaction import Redactor

FRAMES = ("{}", 'x "{}" y', "value={}", "https://example.org/a?z={}&b=1", "({})", "a,{},b", "failed with {}; retry")
FRAMES += ("used {}. Then", "k_{}", "/path/{}/send", "first\n{}\nthird")


@pytest.mark.parametrize("template", TEMPLATES)
def test_at_least_99_of_100_keys_of_each_vendor_are_found(template: str) -> None:
    chance, redactor = random.Random(template), Redactor()
    missed = []
    for number in range(220):
        key = make(chance, template)
        out = redactor(FRAMES[number % len(FRAMES)].format(key))
        if key.rstrip("=")[-14:] in out:
            missed.append((key, out))
    assert len(missed) <= 2, missed[:3]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_names_and_digests_that_begin_like_a_key_stay(text: str) -> None:
    redactor = Redactor()
    for frame in FRAMES:
        assert redactor(frame.format(text)) == frame.format(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://api.telegram.org/bot123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc/sendMessage",
        "https://discord.com/api/webhooks/960126763693516408/sd9-YicA19sl4HSB7_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
        "https://hooks.slack.com/services/T0123456789/B0123456789/abcdefGHIJKL0123456789mn",
        "https://hooks.zapier.com/hooks/catch/1234567/a1b2c3d",
        "https://acme.webhook.office.com/webhookb2/0f8fad5b-d9cb-469f-a165-70867728950e@0f8fad5b-d9cb-469f-a165-70867728950e",
    ],
)
def test_urls_that_are_secrets_lose_their_secret(text: str) -> None:
    out = Redactor()(text)
    assert text[-12:] not in out.replace("/sendMessage", "")
    assert "REDACTED" in out


@pytest.mark.parametrize(
    "text",
    [
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 2\n{}\n{}\nPrivate-MAC: 00ff",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{}\n{}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
        "-----BEGIN EC PRIVATE KEY-----\n{}\n{}\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n{}\n{}",
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_private_keys_of_every_format_go(text: str, escaped: bool) -> None:
    chance = random.Random(1)
    lines = make(chance, "{b64}"), make(chance, "{b64}")
    text = text.format(*lines)
    out = Redactor()(text.replace("\n", "\\n") if escaped else text)
    assert lines[0] not in out
    assert lines[1] not in out
