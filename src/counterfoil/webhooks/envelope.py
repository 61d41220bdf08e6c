"""What is sent: a CloudEvents 1.0 event as JSON, with the headers of Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from standardwebhooks import Webhook

CONTENT_TYPE: Final = "application/cloudevents+json"


def body(
    *, merchant: str, message_id: str, event_type: str, subject: str, time: datetime, data: dict[str, Any]
) -> str:
    """The body: the same text at every attempt. `merchant` is the merchant's reference."""
    event = {
        "specversion": "1.0",
        "id": message_id,
        "source": f"/merchants/{merchant}",
        "type": event_type,
        "subject": subject,
        "time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def headers(*, message_id: str, text: str, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of one attempt, signed with each secret: two for a day after a rotation."""
    at = now.astimezone(UTC)
    signatures = [Webhook(secret).sign(message_id, at, text) for secret in secrets]
    return {
        "content-type": CONTENT_TYPE,
        "user-agent": "Counterfoil",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
