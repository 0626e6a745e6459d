// SPDX-License-Identifier: GPL-2.0
/*
 * The same driver as a module that can be left behind, dead, in memory
 */
#include "drm_drain_driver.c"
