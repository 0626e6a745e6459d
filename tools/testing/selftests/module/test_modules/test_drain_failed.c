// SPDX-License-Identifier: GPL-2.0
/*
 * The same module for a test that leaves it behind, dead, in memory
 */
#include "test_drain_user.c"
