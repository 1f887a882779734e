"""The public functions that are made of several parts; `cse_autoloss` names them all."""
