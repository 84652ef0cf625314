"""A household in words: objects are to be found, heated, cleaned or cooled, and put somewhere; the reward comes at the end."""

from typing import Any

import torch
from torch import Tensor

from regbench.methods.shared.reinforcement.rollouts import BOS, EOS, PAD

# Tokens: after those of every environment the blank, the verbs, the places, the objects, and what the household says.
BLANK = 3
VERBS = ("go", "open", "take", "put", "heat", "clean", "cool")
PLACES = ("table", "shelf", "drawer", "fridge", "sink", "stove", "cabinet", "bed")
THINGS = ("apple", "cup", "knife", "plate")
GO, OPEN, TAKE, PUT, HEAT, CLEAN, COOL = range(BLANK + 1, BLANK + 1 + len(VERBS))
OBJECTS = 4
# A task is to put an object as it is, or heated, cleaned or cooled.
TASKS = 4
TASK_VERBS = (PUT, HEAT, CLEAN, COOL)
FIRST_PLACE = COOL + 1

# Places: the first six, of which drawer and fridge are closed at first; others are like the table or the drawer.
DRAWER, FRIDGE, SINK, STOVE = 2, 3, 4, 5
CLOSED = (DRAWER, FRIDGE, 6)
CAPACITY = 2

ACTION, OBSERVATION = 2, 4
PROMPT = 1 + 3 + OBSERVATION
# Of the reward, for the share of actions that are invalid.
INVALID = 0.1

State = dict[str, Tensor]


class Household:
    """The environment; see ``rollouts.Environment``. An action is a verb and an argument, an observation four tokens.

    An observation holds the place, what lies there (two tokens, blank where nothing does or it is closed), and whether the
    action was valid: ok, closed, fail or won. A problem is a task, an object, a destination, and the four objects' places.

    Actions: go PLACE; open PLACE, take OBJECT and put PLACE where the agent is, one object in hand at most and two in a place;
    heat OBJECT in hand at the stove, clean at the sink, cool at the open fridge. The task is solved once the object, treated as
    asked, has been put at its destination. The reward is 1 for that, less 0.1 times the share of invalid actions.

    Args:
        places: six, or up to eight.
        turns: after which it is over.
    """

    prompt = PROMPT
    action = ACTION
    observation = OBSERVATION
    pad, end = PAD, EOS

    def __init__(self, places: int, turns: int) -> None:
        self.places, self.turns = places, turns
        self.first_object = FIRST_PLACE + places
        self.ok, self.closed, self.fail, self.won = range(self.first_object + OBJECTS, self.first_object + OBJECTS + 4)
        self.vocabulary = self.won + 1

    @property
    def names(self) -> list[str]:
        """The word for each token; none for padding, beginning and end."""
        return ["", "", "", "nothing", *VERBS, *PLACES[: self.places], *THINGS, "ok", "closed", "fail", "won"]

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Household) and (self.places, self.turns) == (other.places, other.turns)

    def __hash__(self) -> int:
        return hash((self.places, self.turns))

    def start(self, problems: Tensor) -> tuple[Tensor, State]:
        """Prompts ``[B, 8]``: BOS, the task's verb, the object, the destination, and what is seen at the table."""
        count, device = len(problems), problems.device
        task, wanted, destination = problems[:, :3].unbind(1)
        closed = torch.zeros(count, self.places, dtype=torch.bool, device=device)
        closed[:, [place for place in CLOSED if place < self.places]] = True
        state = {
            "task": task,
            "wanted": wanted,
            "destination": destination,
            "objects": problems[:, 3:].clone(),
            "at": torch.zeros_like(task),
            "closed": closed,
            "treated": torch.zeros(count, OBJECTS, TASKS, dtype=torch.bool, device=device),
            "won": torch.zeros(count, dtype=torch.bool, device=device),
            "invalid": torch.zeros_like(task),
            "actions": torch.zeros_like(task),
        }
        verbs = torch.tensor(TASK_VERBS, device=device)[task]
        said = [torch.full_like(task, BOS), verbs, wanted + self.first_object, destination + FIRST_PLACE]
        seen = self._observation(state, torch.ones(count, dtype=torch.bool, device=device))
        return torch.cat([torch.stack(said, 1), seen], 1), state

    def act(self, state: State, action: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """Carries out actions ``[B, 2]`` where the episode goes on; returns observations ``[B, 4]`` and who has won."""
        verb, argument = action.unbind(1)
        place, thing = argument - FIRST_PLACE, argument - self.first_object
        is_place = (place >= 0) & (place < self.places)
        is_thing = (thing >= 0) & (thing < OBJECTS)
        place, thing = place.clamp(0, self.places - 1), thing.clamp(0, OBJECTS - 1)
        at, objects, closed = state["at"], state["objects"], state["closed"]
        here = is_place & (place == at)
        shut = closed.gather(1, at[:, None])[:, 0]
        # In hand: a place of its own.
        held = objects == self.places
        holds = is_thing & held.gather(1, thing[:, None])[:, 0]
        there = is_thing & (objects.gather(1, thing[:, None])[:, 0] == at)
        room = (objects == at[:, None]).sum(1) < CAPACITY

        go = alive & (verb == GO) & is_place
        opens = alive & (verb == OPEN) & here & shut
        take = alive & (verb == TAKE) & there & ~shut & ~held.any(1)
        put = alive & (verb == PUT) & here & ~shut & held.any(1) & room
        heat = alive & (verb == HEAT) & holds & (at == STOVE)
        clean = alive & (verb == CLEAN) & holds & (at == SINK)
        cool = alive & (verb == COOL) & holds & (at == FRIDGE) & ~shut
        valid = go | opens | take | put | heat | clean | cool

        one = torch.nn.functional.one_hot(thing, OBJECTS).bool()
        objects = torch.where(take[:, None] & one, self.places, objects)
        objects = torch.where(put[:, None] & held, at[:, None], objects)
        # The first task asks for nothing to be done.
        treatments = torch.stack([torch.zeros_like(heat), heat, clean, cool], 1)
        state["treated"] = state["treated"] | (one[:, :, None] & treatments[:, None])
        state["closed"] = closed & ~(opens[:, None] & torch.nn.functional.one_hot(at, self.places).bool())
        state["objects"], state["at"] = objects, torch.where(go, place, at)
        state["invalid"] = state["invalid"] + (alive & ~valid)
        state["actions"] = state["actions"] + alive
        arrived = put & held.gather(1, state["wanted"][:, None])[:, 0] & (at == state["destination"])
        state["won"] = state["won"] | (arrived & self._as_asked(state))
        return self._observation(state, valid), state["won"]

    def judge(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards, who has won, and no answers."""
        invalid = state["invalid"] / state["actions"].clamp_min(1)
        return state["won"].float() - INVALID * invalid, state["won"], torch.full_like(state["at"], -1)

    def spoken(self, text: Tensor) -> Tensor:
        """Which tokens of demonstrations ``[N, T]`` are actions."""
        step = torch.arange(text.shape[1], device=text.device) % (ACTION + OBSERVATION)
        return (step < ACTION) & (text != PAD)

    def _as_asked(self, state: State) -> Tensor:
        """Whether the wanted object is treated as the task asks ``[B]``."""
        rows = torch.arange(len(state["task"]), device=state["task"].device)
        return (state["task"] == 0) | state["treated"][rows, state["wanted"], state["task"]]

    def _observation(self, state: State, valid: Tensor) -> Tensor:
        at = state["at"]
        shut = state["closed"].gather(1, at[:, None])[:, 0]
        visible = (state["objects"] == at[:, None]) & ~shut[:, None]
        # Objects in order, those that are not there last.
        number = torch.arange(OBJECTS, device=at.device) + self.first_object
        items = torch.where(visible, number, self.vocabulary).sort(1).values[:, :CAPACITY]
        items = torch.where(items < self.vocabulary, items, BLANK)
        status = torch.where(valid, torch.where(shut, self.closed, self.ok), self.fail)
        status = torch.where(state["won"], self.won, status)
        return torch.cat([(at + FIRST_PLACE)[:, None], items, status[:, None]], 1)


def searcher(household: Household, state: State, order: Tensor) -> Tensor:
    """What one does who looks for the object in an order of places ``[B, places]``, treats it and puts it away: ``[B, 2]``.

    An object in hand that is not wanted is put down where there is room. ``state["visited"]`` is kept.
    """
    at, objects, wanted = state["at"], state["objects"], state["wanted"]
    rows = torch.arange(len(at), device=at.device)
    visited = state.setdefault("visited", torch.zeros_like(state["closed"]))
    shut = state["closed"][rows, at]
    place = objects[rows, wanted]
    in_hand, other = place == household.places, (objects == household.places).any(1) & (place != household.places)
    visible = (place == at) & ~shut
    state["visited"] = visited | (torch.nn.functional.one_hot(at, household.places).bool() & ~shut[:, None])
    unseen = torch.where(state["visited"], household.places, order).argmin(1)
    # Once all has been seen, it is where the search began.
    tool = torch.tensor([0, STOVE, SINK, FRIDGE], device=at.device)[state["task"]]
    todo = ~household._as_asked(state)
    aim = torch.where(in_hand, torch.where(todo, tool, state["destination"]), unseen)
    room = (objects == at[:, None]).sum(1) < CAPACITY

    here, thing = at + FIRST_PLACE, wanted + household.first_object
    verb, argument = torch.full_like(at, GO), aim + FIRST_PLACE

    def choose(where: Tensor, what: Tensor | int, to: Tensor) -> None:
        nonlocal verb, argument
        verb, argument = torch.where(where, torch.as_tensor(what, device=at.device), verb), torch.where(where, to, argument)

    choose(in_hand & (at == aim) & todo, torch.tensor(TASK_VERBS, device=at.device)[state["task"]], thing)
    choose(in_hand & (at == aim) & ~todo, PUT, here)
    choose(~in_hand & visible, TAKE, thing)
    choose(other & room, PUT, here)
    choose(shut & (~in_hand | (at == aim)), OPEN, here)
    return torch.stack([verb, argument], 1)


def demonstrate(household: Household, problems: Tensor, generator: torch.Generator, noise: float) -> tuple[Tensor, Tensor]:
    """What searchers do and see ``[N, T]``, padded after their success, and who succeeds ``[N]``.

    Args:
        household: the environment.
        problems: ``[N, 7]``.
        generator: draws orders of places and noise; on the problems' device.
        noise: probability of a random action: of any verb and argument, or as often of going somewhere.
    """
    count, device = len(problems), problems.device

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator, device=device)

    def uniform() -> Tensor:
        return torch.rand(count, generator=generator, device=device)

    _, state = household.start(problems)
    order = torch.rand(count, household.places, generator=generator, device=device).argsort(1)
    alive, parts = torch.ones(count, dtype=torch.bool, device=device), []
    for _ in range(household.turns):
        action = searcher(household, state, order)
        anything = torch.stack([draw(GO, COOL + 1), draw(FIRST_PLACE, household.first_object + OBJECTS)], 1)
        going = torch.stack([torch.full_like(action[:, 0], GO), draw(FIRST_PLACE, household.first_object)], 1)
        other = torch.where(uniform()[:, None] < 0.5, anything, going)
        action = torch.where(uniform()[:, None] < noise, other, action)
        seen, won = household.act(state, action, alive)
        parts.append(torch.where(alive[:, None], torch.cat([action, seen], 1), PAD))
        alive = alive & ~won
    return torch.cat(parts, 1)[:, : household.turns * (ACTION + OBSERVATION) - OBSERVATION], state["won"]


def draw_problems(household: Household, triples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Problems ``[count, 7]`` of given tasks, objects and destinations ``[M, 3]``, the objects being anywhere there is room.

    The wanted object is not at its destination, where one place at least is free.
    """
    chosen = triples[torch.randint(len(triples), (count,), generator=generator)]
    slots = torch.rand(count, household.places, CAPACITY, generator=generator)
    rows = torch.arange(count)
    slots[rows, chosen[:, 2], 1] = 2.0
    away = slots.clone()
    away[rows, chosen[:, 2]] = 3.0
    first = away.flatten(1).argmin(1)
    slots.flatten(1)[rows, first] = 4.0
    others = slots.flatten(1).argsort(1)[:, : OBJECTS - 1] // CAPACITY
    places = torch.empty(count, OBJECTS, dtype=torch.int64)
    is_other = torch.arange(OBJECTS) != chosen[:, 1:2]
    places[is_other] = others.flatten()
    places[rows, chosen[:, 1]] = first // CAPACITY
    return torch.cat([chosen, places], 1)
