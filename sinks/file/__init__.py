"""What every sink with a file needs: naming, SWMR rules, ledger, repair, layout."""
