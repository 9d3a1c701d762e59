"""What the user reads: a verdict part by part, a plan, payouts, each as a table or as JSON.

    text.py          how a number, a foreign text and a table are shown
    verdict.py       the outcome, why, and what it cost
    certificate.py   the bounds, part by part, of each method
    plan.py          what a verification will cost
    payouts.py       who is owed what
    comparison.py    what several sessions say together

Owns the words and the keys; computes nothing that is not in what it is given. Whatever a prover or a file wrote is
shown as one line without control characters, and never as markup.

Keys of ``--json``, stable:

    verify    outcome, assurance, across, epsilon, delta, reasons, task_digest, claim_root, n_retrainings, n_answered,
              certificate (or null), spot_checks, notes, transcript, scores, seconds
    audit     as verify, whose outcome is the audit's; claim_outcome; payouts (or null)
    plan      plans, a list: assurance, across, epsilon, delta, n_families, n_siblings, rho, n_looks, n_retrained,
              n_answered, power (these three for the first look and for all), expected_retrained, expected_answered,
              n_checks, expected_bound, sufficient, seconds_per_retraining, seconds, prover_seconds, claim_bytes,
              answers_bytes, figures_from (and others, a list)
    inspect   task_digest, task (TOML)
    recheck   as verify, transcript being the file read
    compare   task_digest, n_sessions, n_accepted, delta (summed), two_faced (keys), sessions, a list: transcript,
              outcome, delta, verifier, prover, claim_root

    certificate   method, lower, upper (of the worst row); then the method's own:
    families      relative_gap, upper_despite_lies, families_lower, projection_lower, mean_square_between,
                  mean_square_within, degrees_between, degrees_within, n_families, n_siblings, rho, n_rows,
                  worst_row, variance_error, allowance, intercept_error, constant_targets
    crossfit      direction, along, slack, radius, outside, hidden, variance_lower, n_pairs (A, B), n_false, n_rows,
                  worst_row
    algorithm1    mean_squared_error, total, degree_0, degree_1
    others        certificate, n_retrained (null where over a million), n_answered, half_range_sd, asked_epsilon
    spot_checks   n_answers, n_checked, n_mismatches, mismatches, largest_difference, most_false
    payouts       delta, n_outside, contributors: contributor, stated, due, lower, upper, outside, worth, worth_error

A number that is infinite or unknown is null.
"""
