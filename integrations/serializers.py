"""Answers that several parts give."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ReceivedSerializer(serializers.Serializer[Any]):
    """That what was told is kept."""

    received = serializers.BooleanField()
