"""How a record of the engine shows itself in Python: `repr`, HTML in a notebook, figures.

A module for each view, which registers it in `roofline.engine.views`.
"""
