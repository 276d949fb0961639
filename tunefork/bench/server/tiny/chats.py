"""Chats for the tiny model: a user asks for a story, the assistant tells it, in the tokens that vLLM renders a chat with."""

from __future__ import annotations

from openai_harmony import Conversation, HarmonyEncoding, Message, Role, SystemContent

DAYS = ("2025-08-05", "2026-01-31", "2026-11-29")


def chat(harmony: HarmonyEncoding, story: str, day: str) -> list[int]:
    """The token ids of one chat: system message of that day, the question, the story as the final answer, <|return|>."""
    asked, _, _ = story.replace("This is", "Tell me", 1).partition(".")
    system = SystemContent.new().with_conversation_start_date(day)
    answer = Message.from_role_and_content(Role.ASSISTANT, story).with_channel("final")
    messages = [Message.from_role_and_content(Role.SYSTEM, system), Message.from_role_and_content(Role.USER, f"{asked}."), answer]
    return list(harmony.render_conversation_for_training(Conversation.from_messages(messages)))


def chats(harmony: HarmonyEncoding, stories: list[str]) -> list[list[int]]:
    """One chat per story."""
    return [chat(harmony, story, DAYS[place % len(DAYS)]) for place, story in enumerate(stories)]
