"""The upload to the Hugging Face hub, by its own library; the token comes from the environment or its own login."""

from __future__ import annotations

from pathlib import Path

from sightwords.errors import ModelError


def check_token() -> None:
    """Fail before any work where there is no token.

    Raises:
        ModelError: neither $HF_TOKEN nor a login of the hub's library gives one.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise ModelError("There is no token for the Hugging Face hub. Set HF_TOKEN, or run: hf auth login")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Upload a folder to a model repository, made where it is new; return the address of the commit.

    Raises:
        ModelError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="sightwords")
    try:
        made = api.create_repo(repository, private=private or None, exist_ok=True)
        done = api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Export of sightwords")
    except Exception as error:  # the hub's library has its own errors, and passes on those of its HTTP library
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise ModelError(f"The hub did not take {repository}: {reason}") from None
    return str(done.commit_url)
