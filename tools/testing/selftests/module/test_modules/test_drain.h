/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TEST_DRAIN_H
#define TEST_DRAIN_H

struct module;

/* An object of a module, with the module's callback to release it */
struct test_object {
	struct module_drain *drain;
	void (*release)(struct test_object *object);
};

int test_object_init(struct test_object *object, struct module *owner, int kind);
void test_object_put(struct test_object *object);
void test_object_put_later(struct test_object *object, unsigned int ms);
void test_call_in_timer(void (*fn)(void), unsigned int ms);
int test_probe(void *addr);
void test_objects_wait(struct module *owner, int kind);

#endif
