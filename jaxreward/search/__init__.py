"""Vectorised hyperparameter search: Optuna chooses, a generation of choices trains in each compiled program.

```python
from pathlib import Path
from jaxreward.run.job import Setup
from jaxreward.search import Search, Uniform, best_trials, run

space = {"learning_rate": Uniform(1e-5, 1e-1, log=True), "clip": Uniform(0.1, 0.4)}
session = run(Search(Setup(env="CartPole-v1"), space, steps=50_000), Path("runs/search"), say=print)
best_trials(session)[0].params
```
"""

from jaxreward.search.hypervolume import hypervolume as hypervolume
from jaxreward.search.objective import Objective as Objective
from jaxreward.search.objective import parse_objective as parse_objective
from jaxreward.search.outcome import Confirmed as Confirmed
from jaxreward.search.outcome import best_trials as best_trials
from jaxreward.search.outcome import chosen as chosen
from jaxreward.search.outcome import confirm as confirm
from jaxreward.search.outcome import write_best as write_best
from jaxreward.search.spec import Search as Search
from jaxreward.search.spec import read_search as read_search
from jaxreward.search.study import Session as Session
from jaxreward.search.study import load_session as load_session
from jaxreward.search.study import run as run
from jaxreward.settings.space import Choice as Choice
from jaxreward.settings.space import Given as Given
from jaxreward.settings.space import Integer as Integer
from jaxreward.settings.space import Space as Space
from jaxreward.settings.space import Uniform as Uniform
from jaxreward.settings.text import parse_space as parse_space
from jaxreward.settings.text import read_space as read_space
