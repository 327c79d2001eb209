"""The dialog in which a description is rewritten."""

from __future__ import annotations

from nicegui import ui

from sightwords.stages.browse.text_block import TextBlock, button, words


class Editor:
    """One dialog for all descriptions of a visitor's page.

    Args:
        has_images: whether there are pictures to show beside the text.
    """

    def __init__(self, has_images: bool) -> None:
        self._has_images = has_images
        self._block: TextBlock | None = None
        with ui.dialog().classes("sw-dialog") as self._dialog, ui.element("div").classes("sw-panel sw-editor"):
            words("Edit the description", "sw-title", "h2")
            self._picture = ui.element("img")
            self._picture.props["alt"] = ""
            self._picture.set_visibility(has_images)
            self._area = ui.textarea().props("outlined autogrow autofocus").classes("sw-area")
            self._area.props["aria-label"] = "Description"
            self._area.on("keydown.ctrl.enter", self._save).on("keydown.meta.enter", self._save)
            self._answer = words("", "sw-answer")
            words("The describer's answer is kept. Training uses your text after the next sightwords embed.", "sw-hint")
            with ui.element("div").classes("sw-row sw-end"):
                button("Cancel", "", "cancel").on("click", self._dialog.close)
                button("Save", "sw-primary", "save", "Save (Ctrl + Enter)").on("click", self._save)

    def open(self, block: TextBlock) -> None:
        """Open the dialog for a description."""
        self._block = block
        now = block.text.now
        self._area.value = now.text
        if self._has_images:
            self._picture.props["src"] = f"thumbnail/{now.key}"
            self._picture.update()
        answer = now.raw_text if block.text.edited else None
        self._answer.set_text(f"{block.text.who} answered: {answer}" if answer else "")
        self._answer.set_visibility(bool(answer))
        self._dialog.open()

    async def _save(self) -> None:
        if self._block is not None and await self._block.decide("edit", self._area.value or ""):
            self._dialog.close()
