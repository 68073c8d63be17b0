"""Polynomials of Muon's Newton-Schulz steps: a, b, c of a x + b x^3 + c x^5, x a singular value."""

Polynomial = tuple[float, float, float]

SAFETY = 1.01  # by which bfloat16 may round a singular value up: beyond their range they explode

# Polar Express (Amsel et al. 2025, arXiv 2505.16932, algorithm 1): each is the best of its kind for
# what those before it left of singular values from 0.001 to 1, or from 0.024 of the largest, where
# they are below, so that none in the middle is brought as low as the smallest.
_TO_ONE: tuple[Polynomial, ...] = (
    (8.287212018145626, -23.59588651909882, 17.30038731253092),
    (4.107059111542198, -2.947849916737908, 0.5448431082926598),
    (3.948690853482296, -2.908902115962949, 0.5518191394370134),
    (3.3184196573706, -2.4884880243148744, 0.5100489401237202),
    (2.3006520199548173, -1.66890398457475, 0.4188073119525674),
)
POLAR_EXPRESS: tuple[Polynomial, ...] = tuple(
    (a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in _TO_ONE
)
