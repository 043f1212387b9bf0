"""Which summarizer the environment chooses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from examples.diary.chat import ChatSummarizer
from examples.diary.extractive import ExtractiveSummarizer
from examples.diary.settings import SettingError
from examples.diary.summarizer import Summarizer


def summarizer_from(env: Mapping[str, str]) -> Summarizer:
    """The model behind SUMMARIZER_URL when that is set, else the built-in one. Raises SettingError."""
    url = env.get("SUMMARIZER_URL", "")
    if not url:
        return ExtractiveSummarizer()
    if not url.startswith(("http://", "https://")):
        raise SettingError(f"SUMMARIZER_URL: {url!r} is no address; write for example http://127.0.0.1:11434/v1")
    model = env.get("SUMMARIZER_MODEL", "")
    if not model:
        raise SettingError("SUMMARIZER_MODEL: name the model that SUMMARIZER_URL should use")
    return ChatSummarizer(url, model, _key(env))


def _key(env: Mapping[str, str]) -> str:
    key, file = env.get("SUMMARIZER_API_KEY", ""), env.get("SUMMARIZER_API_KEY_FILE", "")
    if key and file:
        raise SettingError("SUMMARIZER_API_KEY and SUMMARIZER_API_KEY_FILE: set one of them")
    if file:
        try:
            key = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SettingError(f"SUMMARIZER_API_KEY_FILE: {file!r} cannot be read: {error}") from None
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingError("the key of the summarizer holds characters that a header cannot carry")
    return key


@cache
def summarizer() -> Summarizer:
    """This process's summarizer, made at first use."""
    return summarizer_from(os.environ)
