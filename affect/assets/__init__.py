"""Pictures that ship with the package: `astronaut.jpg`, Eileen Collins, NASA, public domain (as in scikit-image)."""
