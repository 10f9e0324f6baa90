"""How good a model is: errors, uncertainties, features and short range, and the report that shows them."""
