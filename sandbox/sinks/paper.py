"""The labels that a carrier would have one print: a page of 4 by 6 inches that says it is none."""

import io

from reportlab.lib.units import inch
from reportlab.pdfgen.canvas import Canvas

from sandbox.answers import Answer


def label(text: str) -> Answer:
    """A PDF with one line of text."""
    content = io.BytesIO()
    canvas = Canvas(content, pagesize=(4 * inch, 6 * inch))
    canvas.drawString(0.3 * inch, 5.5 * inch, "Not a real label:")
    canvas.drawString(0.3 * inch, 5.2 * inch, text[:40])
    canvas.save()
    return Answer(status=200, body=content.getvalue(), content_type="application/pdf")
