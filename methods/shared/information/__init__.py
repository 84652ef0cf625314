"""Estimators of entropy and mutual information of representations: plain functions of tensors."""
