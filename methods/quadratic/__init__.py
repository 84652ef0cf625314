"""A bilevel problem with a closed form, on which learners of parameters can be judged exactly."""
