from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_infra.errors import ConfigurationError
from asgi_infra.logs import configure_logging, get_logging

FIVE = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.mark.parametrize("name", FIVE)
@pytest.mark.parametrize("spell", [str.upper, str.lower, str.title])
def test_the_five_levels_are_known_in_any_case(configure, name, spell):
    configure(spell(name))
    assert logging.getLogger().level == getattr(logging, name)


@pytest.mark.parametrize(
    "level", [True, False, 10, 20.0, None, b"INFO", "", " INFO", "WARN", "NOTSET", "FATAL", "10", []]
)
def test_anything_else_is_a_value_error_that_names_the_five(level):
    with pytest.raises(ConfigurationError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL") as caught:
        configure_logging(level)
    assert isinstance(caught.value, ValueError)
    assert get_logging() is None


@given(st.text().filter(lambda text: text.upper() not in FIVE))
def test_no_other_text_is_a_level(level):
    with pytest.raises(ValueError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        configure_logging(level)


def test_a_wrong_level_of_one_logger_is_named_with_the_logger():
    with pytest.raises(ValueError, match=r"levels\['sqlalchemy'\] must be one of DEBUG"):
        configure_logging(levels={"sqlalchemy": "loud"})


@pytest.mark.parametrize("levels", [["sqlalchemy"], {"": "INFO"}, {1: "INFO"}, "INFO"])
def test_levels_that_are_no_mapping_of_names_are_refused(levels):
    with pytest.raises(ValueError, match="levels must"):
        configure_logging(levels=levels)


def test_single_loggers_have_levels_of_their_own(configure, lines):
    configure("WARNING", levels={"shop.orders": "DEBUG", "shop.noise": "error"})
    for name in ("shop", "shop.orders", "shop.noise"):
        logging.getLogger(name).warning(name)
        logging.getLogger(name).debug("%s in detail", name)
    assert lines.messages == ["shop", "shop.orders", "shop.orders in detail"]


def test_levels_change_while_running_and_go_back_at_the_end(configure, lines):
    logger = logging.getLogger("shop.running")
    logger.setLevel(logging.ERROR)
    root = logging.getLogger().level
    setup = configure("INFO", levels={"shop.running": "WARNING"})
    logger.info("no")
    setup.set_level("debug", "shop.running")
    logger.debug("yes")
    setup.set_level("critical")
    logging.getLogger("shop.other").error("no")
    assert lines.messages == ["yes"]
    setup.close()
    assert logger.level == logging.ERROR
    assert logging.getLogger().level == root


def test_a_replacement_sets_back_what_it_does_not_name(configure):
    logger = logging.getLogger("shop.replaced")
    configure(levels={"shop.replaced": "ERROR"})
    configure(levels={})
    assert logger.level == logging.NOTSET


def test_a_closed_set_up_changes_no_levels(configure):
    setup = configure()
    setup.close()
    with pytest.raises(ConfigurationError, match="closed"):
        setup.set_level("INFO")


def test_a_level_that_somebody_has_changed_since_stays(configure):
    setup = configure(levels={"shop.mine": "ERROR"})
    logging.getLogger("shop.mine").setLevel(logging.INFO)
    setup.close()
    assert logging.getLogger("shop.mine").level == logging.INFO
    logging.getLogger("shop.mine").setLevel(logging.NOTSET)


def test_a_disabled_level_runs_the_code_of_the_standard_library_alone(configure):
    methods = {name: getattr(logging.Logger, name) for name in ("debug", "info", "isEnabledFor", "getEffectiveLevel")}
    configure("INFO")
    assert methods == {name: getattr(logging.Logger, name) for name in methods}
    assert type(logging.getLogger("shop.disabled")) is logging.Logger
