"""Refusals, and descriptions that sound like them."""

# ruff: noqa: RUF001

from __future__ import annotations

import pytest

from sightwords.descriptions.quality.refusal import is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "I am very sorry, but I am unable to describe this image.",
        "I'm sorry, I don't see any image attached.",
        "Sorry, I can't see the picture.",
        "Sorry, but I cannot identify people in images.",
        "I apologize, but I cannot provide a description of this image.",
        "Unfortunately, I am not able to view images.",
        "My apologies, but the image did not load.",
        "As an AI language model, I cannot see images.",
        "As a text-based AI, I do not have eyes.",
        "As an AI assistant, I don't have the ability to view photos.",
        "I'm just a language model, so I can't look at pictures.",
        "I cannot see the image.",
        "I can't view images directly. Please describe it to me.",
        "I can't actually see the image you uploaded.",
        "I can’t determine what’s in this image.",
        "I don't have enough information to describe the image.",
        "Sorry, the picture is too dark to make out.",
        "Error: the image could not be processed.",
        "I'm unable to view or describe the image.",
        "I am unable to assist with that.",
        "Unable to process the image.",
        "I do not have the ability to process images.",
        "I don't have access to the image.",
        "I don't see an image here.",
        "No image was provided.",
        "I'm sorry, but the image is too blurry.",
        "I need to see the image first.",
        "No picture available.",
        "The image is missing.",
        "Desculpe, mas não posso ver a imagem.",
        "К сожалению, я не могу увидеть изображение.",
        "I am a text-only model.",
        "It seems that there isn't an image attached.",
        "No image provided. Please upload one.",
        "It seems that no image was attached.",
        "It looks like there is no image attached to your message.",
        "There is no image to describe.",
        "It appears that the image did not load.",
        "The image could not be loaded.",
        "The image you uploaded was not provided in a readable form.",
        "You haven't uploaded an image yet.",
        "It seems you forgot to attach the picture.",
        "Please provide the image you would like me to describe.",
        "Could you please upload the picture again?",
        "I must respectfully decline.",
        "I'd rather not describe this.",
        "I'm not comfortable with describing this.",
        "I can't identify the person in this photo.",
        "I cannot create a description of this content.",
        "Describing this would violate our content policy.",
        "I would be happy to help, but I can't see the image.",
        "I'd love to help! However, I cannot view attachments.",
        "对不起，我无法查看图片。",
        "申し訳ありませんが、画像を見ることができません。",
        "Es tut mir leid, aber ich kann das Bild nicht sehen.",
        "Je suis désolé, mais je ne peux pas voir l'image.",
        "Lo siento, no puedo ayudar con eso.",
    ],
)
def test_refusal(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The bird cannot be seen in full.",
        "A small bird. I cannot see its feet because of the leaves.",
        "A small brown bird. I cannot identify the species.",
        "A sign that says I'm sorry.",
        "A note on a door. It says: I'm sorry, I can't come in today.",
        "A card with the words \"I'm sorry, but I can't help it\" in pink.",
        "“I'm sorry, I cannot see the image” is written on a gray screen.",
        "A robot with a badge that reads As an AI I cannot lie.",
        "As an AI-generated picture, it has odd fingers.",
        "The penguin is unable to fly.",
        "Unable to fly, the penguin stands on the ice.",
        "Unable to see over the wall, a boy stands on a crate.",
        "There is no image on the screen of the television.",
        "There is no picture in the frame.",
        "A placeholder with the text No image available in the middle.",
        'A gray square. The words "No image was provided" are in its middle.',
        "No people are visible on the beach.",
        "No photo frames hang on the white wall.",
        "The image is blurred and the bird is not visible in full.",
        "The image is blank and white.",
        "A poster that asks: please provide your own cup.",
        "I don't see any leaves; the tree is bare.",
        "I cannot see the picture on the wall clearly, but it is blue.",
        "Sorry! is the name of the board game on the table.",
        "The man looks sorry, and cannot lift the box.",
        "A woman who is unable to assist the man stands by.",
        "A policy document lies on a desk.",
        "A police officer refuses to open the door.",
        "You can see the sea behind the house.",
        "We can't tell the two birds apart.",
        "A bird.",
        "",
    ],
)
def test_description(text):
    assert not is_refusal(text)
