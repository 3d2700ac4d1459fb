-- A validated constraint is undone by dropping it, which the step that added it does: nothing to do here.
SELECT 1;
