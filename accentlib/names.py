"""What explainers and recommenders are called where people read: tables, pictures, the explorer."""

NAMES = {
    "accent": "ACCENT", "fia": "FIA", "pure_fia": "pure FIA",
    "attention": "attention", "pure_attention": "pure attention",
    "one_versus_all": "one-versus-all", "accent_plus": "ACCENT+",
}  # fmt: skip
TITLES = {
    "ncf": "NCF", "rcf": "RCF", "bpr": "BPR", "lightgcn": "LightGCN", "autoencoder": "autoencoder",
}  # fmt: skip
