"""Ways to transfer, and to do without. A file each; the file bears the registered name."""

TABLE = {
    "chance": "Chance",
    "plain": "Plain",
    "scratch": "Scratch",
    "nearest_mean": "NearestMean",
    "linear_probe": "LinearProbe",
    "head2toe": "Head2Toe",
    "fine_tune": "FineTune",
    "side_tuning": "SideTuning",
}
