"""Polynomials of Muon's Newton-Schulz steps: a, b, c of a x + b x^3 + c x^5, x a singular value."""

Polynomial = tuple[float, float, float]

# Polar Express (Amsel et al. 2025, arXiv 2505.16932, algorithm 1, without cushion or safety): each
# is the best of its kind for what those before it left of singular values from 0.001 to 1.
POLAR_EXPRESS: tuple[Polynomial, ...] = (
    (8.470328803848073, -25.108074706661885, 18.62927559911802),
    (4.1828341832939415, -3.108701109889241, 0.5806066813500491),
    (3.9618572789615976, -2.954063746359376, 0.5629761179538959),
    (3.28658621702796, -2.464720134531282, 0.5073576938614548),
    (2.273749994434039, -1.64466036790807, 0.41619092749788655),
)
