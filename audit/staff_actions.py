"""Buttons of the admin: what staff may do to a row, one page or one click each, on record.

A `StaffAction` says what is done, who may, when it is offered and what it asks for. `ActionsAdmin`
puts the buttons on a row's page and runs them: rights, form, errors and audit rows are the same
for all of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import CHECKBOX_CLASSES, INPUT_CLASSES, SELECT_CLASSES

from audit import services as audit
from config.kernel import request_context
from config.kernel.admin import PlainAdmin, entity_type
from config.kernel.clock import Deadline
from config.kernel.db import WENT_AWAY, is_lock_timeout
from config.kernel.errors import DomainError, ValidationFailedError
from config.kernel.models import new_uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from django.db.models import Model
    from django.http import HttpRequest
    from django.urls import URLPattern

CALL_SECONDS: Final = 12.0  # the provider is given as long as a buyer's request
TRY_AGAIN: Final = (
    "The database went away in the middle. Send this page again: what is done is not done twice."
)
IN_USE: Final = (
    "Somebody else is at it at this moment. Send this page again: what is done is not done twice."
)


class StaffForm(forms.Form):
    """What an action asks for. Whoever sends the same page again means the same thing.

    `request_key` is made with the page; services that can be repeated are given it.
    """

    request_key = forms.UUIDField(widget=forms.HiddenInput, initial=new_uuid)

    def __init__(self, *args: Any, row: Any = None, **kwargs: Any) -> None:
        self.row = row
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            dress(field.widget)

    def errors_on_top(self) -> list[str]:
        """What is wrong with all of it, and with fields that nobody sees."""
        hidden = [
            f"{field.label}: {error}" for field in self.hidden_fields() for error in field.errors
        ]
        return [*self.non_field_errors(), *hidden]

    def carry(self, name: str, value: str) -> None:
        """Have a field hold a value when the page, which was sent, is shown again."""
        sent: Any = self.data
        sent = sent.copy()
        sent[name] = value
        self.data = sent


def dress(widget: forms.Widget) -> None:
    """Give it unfold's looks; for a form that adds fields of its own.

    A field for a file takes `UnfoldAdminFileFieldWidget`: unfold's script knows no other.
    """
    if isinstance(widget, forms.FileInput):
        return
    classes = INPUT_CLASSES
    if isinstance(widget, forms.CheckboxInput):
        classes = CHECKBOX_CLASSES
    elif isinstance(widget, forms.Select):
        classes = SELECT_CLASSES
    widget.attrs.setdefault("class", " ".join(classes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a member of staff asks for: the form's values, and who says it.

    `request_key` is the same when the same page is sent again. `deadline` is for calls to others.
    """

    values: Mapping[str, Any]
    request_key: str
    user_id: int
    deadline: Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file that the browser is to save."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of it, in words for the person; `is_open` where it is not finished yet.

    `file` is the answer itself, where there is one: the person stays on the page.
    """

    text: str
    is_open: bool = False
    file: Download | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """Leads to a page; with a `request_key`, one click does it. Drawn by `staff/buttons.html`."""

    name: str
    label: str
    url: str
    icon: str
    description: str = ""
    is_dangerous: bool = False
    request_key: UUID | None = None


class StaffAction:
    """A button on a row's page. Subclasses say what; instances are stateless and shared."""

    name: ClassVar[str]
    """In the address and in the audit log: `ship`."""
    label: ClassVar[str]
    permission: ClassVar[str]
    """`app.codename`, asked of whoever presses or sees the button."""
    icon: ClassVar[str] = "play_arrow"
    """A name of Material Symbols."""
    description: ClassVar[str] = ""
    """What it does and what follows, in a sentence, above the form."""
    form: ClassVar[type[StaffForm] | None] = None
    """What it asks for; None: one click does it."""
    is_dangerous: ClassVar[bool] = False
    """Whether it moves money or cannot be taken back: the button is red, and asks first."""
    audited: ClassVar[Sequence[str]] = ()
    """The form's values that the audit log keeps: ids, amounts and states, no personal data."""
    template: ClassVar[str] = "staff/action.html"

    def is_offered(self, row: Any) -> bool:  # noqa: ARG002 - most are offered always
        """Whether the row is in a state in which this can be done."""
        return True

    def state(self, row: Any) -> dict[str, Any]:
        """What the audit log compares before and after: states and amounts, no personal data."""
        raise NotImplementedError

    def context(self, row: Any, form: StaffForm | None) -> dict[str, Any]:  # noqa: ARG002 - for those that show more
        """What else the template shows: a preview."""
        return {}

    def run(self, row: Any, said: Said) -> Done:
        """Do it, through a service.

        Raises:
            DomainError: it cannot be done, and nothing was changed; its message is shown.
        """
        raise NotImplementedError


def told(error: DomainError) -> str:
    """An error in a line; of what was typed, which part of it is wrong."""
    if not isinstance(error, ValidationFailedError) or not error.details:
        return error.message
    return f"{error.message} {json.dumps(error.details, default=str)}"


def saved(file: Download) -> HttpResponse:
    """The answer with which a browser saves it."""
    return HttpResponse(
        file.content,
        content_type=file.content_type,
        headers={"Content-Disposition": f'attachment; filename="{file.name}"'},
    )


class ActionsAdmin(PlainAdmin):
    """A page with buttons. Each press leaves two audit rows: what was asked for, what came of it.

    The first is written before anything is done, so that whatever dies in the middle is on record;
    both carry the row's state at that moment.
    """

    staff_actions: ClassVar[Sequence[StaffAction]] = ()
    change_form_outer_before_template = "staff/buttons.html"

    def get_urls(self) -> list[URLPattern]:
        opts = self.opts
        return [
            path(
                "<int:object_id>/do/<slug:name>/",
                self.admin_site.admin_view(self.action_view),
                name=f"{opts.app_label}_{opts.model_name}_do",
            ),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        buttons = self.buttons(request, row) if row else []
        context = {"buttons": buttons, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def buttons(
        self, request: HttpRequest, row: Model, *, only: Collection[str] | None = None
    ) -> list[Button]:
        """What this person may press now.

        Args:
            only: names of actions; the others are not looked at, which costs queries.
        """
        actions = [
            self._button(row, action)
            for action in self.staff_actions
            if (only is None or action.name in only)
            and request.user.has_perm(action.permission)
            and action.is_offered(row)
        ]
        return actions if only is not None else [*actions, *self.links(request, row)]

    def links(self, request: HttpRequest, row: Any) -> list[Button]:  # noqa: ARG002 - most pages have none
        """Pages of their own that stand among the buttons."""
        return []

    def action_view(self, request: HttpRequest, object_id: int, name: str) -> HttpResponse:
        """One action on one row: its form by GET, the deed by POST."""
        action = next((action for action in self.staff_actions if action.name == name), None)
        row = self.get_object(request, str(object_id))
        if action is None or row is None:
            raise Http404
        may_look = self.has_view_permission(request, row)
        if not (may_look and request.user.has_perm(action.permission)):
            raise PermissionDenied
        form_class = action.form or StaffForm
        if request.method != "POST":
            form = form_class(row=row)
            return self._page(request, action, row, form)
        form = form_class(request.POST, request.FILES, row=row)
        if not form.is_valid():
            return self._page(request, action, row, form)
        return self._run(request, action, row, form)

    def _run(
        self, request: HttpRequest, action: StaffAction, row: Model, form: StaffForm
    ) -> HttpResponse:
        assert request.user.pk is not None  # noqa: S101 - the site lets nobody else in
        request_context.set_user(user_id=request.user.pk)
        said = Said(
            values=form.cleaned_data,
            request_key=str(form.cleaned_data["request_key"]),
            user_id=request.user.pk,
            deadline=Deadline(CALL_SECONDS),
        )
        asked = {name: str(form.cleaned_data.get(name)) for name in action.audited}
        self._record_press("STAFF_ACTION_ASKED", action, row, {"asked": asked} if asked else {})
        try:
            done = action.run(row, said)
        except DomainError as exc:
            self._record_press("STAFF_ACTION_REFUSED", action, row, {"code": exc.code})
            if action.form is None:
                self.message_user(request, told(exc), messages.ERROR)
                return self._back(row)
            form.add_error(None, told(exc))
            return self._page(request, action, self.get_object(request, str(row.pk)) or row, form)
        except WENT_AWAY as exc:
            return self._try_again(request, action, row, form, exc)
        self._record_press(
            "STAFF_ACTION_DONE", action, row, {"is_open": True} if done.is_open else {}
        )
        if done.file is not None:
            return saved(done.file)
        level = messages.WARNING if done.is_open else messages.SUCCESS
        self.message_user(request, done.text, level)
        return self._back(row)

    def _try_again(
        self,
        request: HttpRequest,
        action: StaffAction,
        row: Model,
        form: StaffForm,
        failure: Exception,
    ) -> HttpResponse:
        """It may have been done: the same page again, whose key keeps it from being done twice."""
        if not connection.is_usable():
            connection.close()
        self._record_press("STAFF_ACTION_UNKNOWN", action, row, {"error": type(failure).__name__})
        words = IN_USE if is_lock_timeout(failure) else TRY_AGAIN
        if action.form is None and not action.is_dangerous:
            self.message_user(request, words, messages.ERROR)
            return self._back(row)
        form.add_error(None, words)
        return self._page(request, action, row, form)

    def _record_press(
        self, event_type: str, action: StaffAction, row: Model, data: dict[str, Any]
    ) -> None:
        fresh: Any = type(row)._default_manager.filter(pk=row.pk).first()  # noqa: SLF001 - Django's own name
        audit.record(
            event_type,
            entity_type=entity_type(type(row)),
            entity_id=row.pk,
            data={"action": action.name, "state": action.state(fresh) if fresh else None, **data},
        )

    def _page(
        self, request: HttpRequest, action: StaffAction, row: Model, form: StaffForm
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": action.label.rstrip("…"),
            "subtitle": str(row),
            "action": action,
            "row": row,
            "form": form,
            "opts": self.opts,
            "back_url": self._change_url(row),
            "is_offered": action.is_offered(row),
            "media": self.media + form.media,
            **action.context(row, form),
        }
        return TemplateResponse(request, action.template, context)

    def _back(self, row: Model) -> HttpResponse:
        return HttpResponseRedirect(self._change_url(row))

    def _change_url(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=(row.pk,))

    def _button(self, row: Model, action: StaffAction) -> Button:
        asks = action.form is not None or action.is_dangerous
        return Button(
            name=action.name,
            label=action.label,
            url=reverse(
                f"admin:{self.opts.app_label}_{self.opts.model_name}_do", args=(row.pk, action.name)
            ),
            icon=action.icon,
            description=action.description,
            is_dangerous=action.is_dangerous,
            request_key=None if asks else new_uuid(),
        )
