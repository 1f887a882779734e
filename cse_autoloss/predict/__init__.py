"""Pictures of what a run's detector finds: so that a person sees what an AP means."""

from cse_autoloss.predict.run import PredictResult, predict_images

__all__ = ["PredictResult", "predict_images"]
