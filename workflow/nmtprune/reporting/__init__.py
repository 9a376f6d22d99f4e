"""Tables, figures and the page, rendered from what has been measured."""
