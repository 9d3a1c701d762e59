"""What the user reads: a verdict part by part, a plan, payouts, each as a table or as JSON.

    text.py          how a number, a foreign text and a table are shown
    verdict.py       the outcome, why, and what it cost
    plan.py          what a verification will cost
    payouts.py       who is owed what
    comparison.py    what several sessions say together

Owns the words and the keys; computes nothing that is not in what it is given. The parts of a bound come from its
certificate, so nothing here knows the methods. Whatever a prover or a file wrote is shown as one line without control
characters, and never as markup.

Keys of ``--json``, stable:

    verify    outcome, certificate_name, assumption, answers, across, epsilon, delta, reasons, task_digest, claim_root,
              n_retrainings, n_answered, certificate (or null), spot_checks, notes, transcript, scores, seconds
    audit     as verify (but outcome is that of the audit), claim_outcome, payouts (or null)
    plan      plans, a list
    plans     certificate, assumption, answers, across, epsilon, delta, kurtosis, why_not, figures_from,
              claim_bytes, seconds_per_retraining, lower_bound; where there is a plan: n_retrained, n_answered, power
              (these three by the first look and by the last), expected_retrained, expected_answered, n_checks,
              n_rounds, expected_bound, sufficient, seconds, answers_bytes, summary
    inspect   task_digest, task
    recheck   as verify (but transcript is the file that was read)
    compare   task_digest, n_sessions, n_accepted, delta, two_faced, sessions
    session   transcript, outcome, delta, verifier, prover, claim_root

    certificate   method, lower, upper, and the method's own:
    moments       kurtosis, kurtosis_along, kurtosis_observed, mean_square, gap_upper, variance_lower, by_minkowski,
                  along, along_lower, n_families, n_siblings, rho, n_pilot, n_false, n_rows, worst_row
    crossfit      direction, along, slack, radius, outside, hidden, variance_lower, n_pairs (A, B), n_false (A, B),
                  n_rows, worst_row
    exhaustive    relative_gap, explained, n_subsets; with a seed per subset: error, noise, n_seeds, n_subsets
    algorithm1    mean_squared_error, total, degree_0, degree_1
    gaussian      relative_gap, families_lower, projection_lower, mean_square_between, mean_square_within,
                  degrees_between, degrees_within, level, n_families, n_siblings, rho, n_rows, worst_row,
                  variance_error, intercept_error, constant_targets; on pairs: relative_gap, standard_error, n_pairs
    spot_checks   n_answers, n_checked, n_mismatches, mismatches, largest_difference, most_false
    payouts       delta, n_outside, n_families, estimator, assumption, half_width, contributors
    contributor   contributor, stated, due, lower, upper, outside, worth, worth_correction

A number that is infinite or unknown is null.
"""
