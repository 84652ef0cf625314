from optuna.distributions import FloatDistribution as F
S = {"learning_rate": F(0.01, 0.3, log=True), "weight_decay": F(1e-5,1e-2,log=True)}
SPACES = {"cross_entropy": S, "label_smoothing": S|{"smoothing": F(0,0.5)}, "confidence_penalty": S|{"penalty": F(0,1.0)}}
