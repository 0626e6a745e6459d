# SPDX-License-Identifier: GPL-2.0
#
# Faults made by rule: each statement, condition, constant, flag and lock that the series adds
# to the files of its core, one at a time. Used by tools/drain/mutants.

import re
import clang.cindex as ci

ci.Config.set_library_file('libclang-19.so.1')
K = ci.CursorKind

# What is a statement of its own, by the text; the kinds that look like it and are not
SIMPLE = re.compile(r'(\*?[A-Za-z_][\w.\[\]]*(->[\w.\[\]]+)*)\s*(\(|[-+|&*]?=[^=]|\+\+|--)')
NESTED = (K.FOR_STMT, K.WHILE_STMT, K.IF_STMT, K.SWITCH_STMT, K.COMPOUND_STMT, K.DECL_STMT, K.RETURN_STMT)
# What is not there without lockdep
ASSERTION = re.compile('lockdep_assert')
LOCK = re.compile(r'\b(?:scoped_)?guard\((mutex)(?:\)\(|, )(&\w+)\)')
FLAGS = re.compile(r'\b_*[A-Z][A-Z_]+(?: \| _*[A-Z][A-Z_]+)+')


class Fault:
    """What one operator does at one site: replacements (start, end, text) in a file"""
    def __init__(self, file, function, what, edits, head=''):
        self.file, self.edits, self.head = file, edits, head
        self.name = f'{function}(): {what}'


def short(text):
    text = re.sub(r'\s+', ' ', text.strip())
    return text if len(text) <= 60 else text[:57] + '...'


def closing(text, at):
    """Where the parenthesis that opens at this place closes"""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == '(') - (text[i] == ')')
        if not depth:
            return i
    return -1


def operands(text):
    """(operator, [(start, end)]) of the loosest operator at the top, which takes more than one"""
    for op in ('||', '&&'):
        parts, depth, begin, i = [], 0, 0, 0
        while i < len(text):
            depth += (text[i] in '([') - (text[i] in ')]')
            if not depth and text.startswith(op, i):
                parts.append((begin, i))
                i += len(op)
                begin = i
                continue
            i += 1
        if parts:
            return op, parts + [(begin, len(text))]
    return '', []


class File:
    def __init__(self, path, text, flags, source, lines):
        """lines: the numbers of those that the series adds, or None for all of the file"""
        self.path, self.text, self.lines, self.faults = path, text, lines, []
        # Places are counted in bytes there.
        plain = text.encode('ascii', 'replace').decode()
        unit = ci.Index.create().parse(source, args=flags, unsaved_files=[(source, plain)])
        # What gcc alone accepts in a header does no harm.
        errors = [d for d in unit.diagnostics if d.severity == ci.Diagnostic.Fatal or
                  d.severity == ci.Diagnostic.Error and d.location.file and d.location.file.name == source]
        self.error = str(errors[0]) if errors else ''
        for c in unit.cursor.get_children():
            if c.kind == K.FUNCTION_DECL and c.is_definition() and c.location.file and c.location.file.name == source:
                self.function(c)

    def added(self, start, end):
        if self.lines is None:
            return True
        first = self.text.count('\n', 0, start) + 1
        return all(n in self.lines for n in range(first, first + self.text.count('\n', start, end) + 1))

    def add(self, what, *edits, head=''):
        if all(self.added(s, e) and '\n#' not in self.text[s:e] for s, e, _ in edits):
            self.faults.append(Fault(self.path, self.name, what, list(edits), head))

    def span(self, cursor):
        return cursor.extent.start.offset, cursor.extent.end.offset

    def function(self, cursor):
        self.name = cursor.spelling
        self.bool = cursor.result_type.spelling in ('bool', '_Bool')
        start, end = self.span(cursor)
        body = self.text.find('{', start, end)
        if body < 0:
            # A macro's
            return
        self.seen = set()
        self.visit(cursor)
        for m in LOCK.finditer(self.text, body, end):
            self.add(f'without the lock {m.group(2)}',
                     (m.start(2), m.end(2), '&drain_no_lock_%d'),
                     head=f'static DEFINE_{m.group(1).upper()}(drain_no_lock_%d);\n')
        plain = re.sub(r'/\*.*?\*/|"(\\.|[^"\\\n])*"|^#.*$', lambda m: ' ' * len(m.group()),
                       self.text[body:end], flags=re.S | re.M)
        for m in re.finditer(r'(?<![\w.])\d+(?![\w.])', plain):
            at = body + m.start()
            self.add(f'{int(m.group()) + 1} for {m.group()} in "{self.line(at)}"',
                     (at, at + len(m.group()), str(int(m.group()) + 1)))
        for m in FLAGS.finditer(plain):
            flags = m.group().split(' | ')
            for flag in flags:
                rest = ' | '.join(f for f in flags if f != flag)
                self.add(f'without {flag} in "{self.line(body + m.start())}"',
                         (body + m.start(), body + m.end(), rest))

    def line(self, at):
        return short(self.text[self.text.rindex('\n', 0, at):self.text.index('\n', at)])

    def statement(self, cursor):
        """Where a simple statement is, its semicolon included, or None"""
        start, end = self.span(cursor)
        if cursor.kind in (K.BREAK_STMT, K.CONTINUE_STMT):
            return start, self.text.index(';', end - 1) + 1
        if cursor.kind in NESTED or not SIMPLE.match(self.text, start) or ASSERTION.match(self.text, start):
            return None
        semicolon = re.compile(r'\s*;').match(self.text, end)
        return (start, semicolon.end()) if semicolon else None

    def visit(self, cursor):
        children = list(cursor.get_children())
        if cursor.kind == K.COMPOUND_STMT and self.text[cursor.extent.start.offset] == '{':
            previous = None
            for c in children:
                here = self.statement(c)
                if here and here not in self.seen:
                    self.seen.add(here)
                    self.delete(here)
                    jump = c.kind in (K.BREAK_STMT, K.CONTINUE_STMT)
                    if previous and not jump:
                        self.swap(previous, here)
                    previous = None if jump else here
                else:
                    previous = None
        elif cursor.kind in (K.IF_STMT, K.FOR_STMT, K.WHILE_STMT):
            for c in children:
                here = self.statement(c)
                # The body, not a condition or a step
                if here and here not in self.seen and self.text[:here[0]].rstrip().endswith((')', 'else')):
                    self.seen.add(here)
                    self.delete(here)
        start, end = self.span(cursor)
        if (start, end) not in self.seen:
            self.condition(cursor, start, end, children)
        for c in children:
            self.visit(c)

    def delete(self, here):
        self.add(f'without "{short(self.text[here[0]:here[1]])}"', (*here, ';'))

    def swap(self, first, second):
        one, two = self.text[slice(*first)], self.text[slice(*second)]
        self.add(f'"{short(two)}" before "{short(one)}"', (*first, ';'), (second[1], second[1], one))

    def condition(self, cursor, start, end, children):
        text = self.text
        keyword = re.compile(r'(if|while)\s*\(').match(text, start)
        if cursor.kind in (K.IF_STMT, K.WHILE_STMT) and keyword:
            here = keyword.end(), closing(text, keyword.end() - 1)
        elif cursor.kind == K.DO_STMT and text.startswith('do', start):
            at = text.rindex('while (', start, text.index(';', end - 1)) + 6
            here = at + 1, closing(text, at)
        elif cursor.kind == K.FOR_STMT and text.startswith('for (', start):
            at = text.index(';', start) + 1
            here = at, text.index(';', at)
        elif cursor.kind == K.CONDITIONAL_OPERATOR and children:
            here = self.span(children[0])
            if not text[here[1]:].lstrip().startswith('?'):
                return
        elif cursor.kind == K.RETURN_STMT and text.startswith('return ', start):
            here = start + 7, text.index(';', end - 1)
            if '?' in text[slice(*here)] or not self.bool and not operands(text[slice(*here)])[0]:
                return
        else:
            return
        if here in self.seen or not text[slice(*here)].strip():
            return
        self.seen.add(here)
        old = text[slice(*here)]
        what = short(old)
        if old in ('true', 'false'):
            self.add(f'{"false" if old == "true" else "true"} for {old} in "{self.line(here[0])}"',
                     (*here, 'false' if old == 'true' else 'true'))
            return
        self.add(f'not "{what}"', (*here, f'!({old})'))
        op, parts = operands(old)
        for n, part in enumerate(parts):
            rest = op.join(old[slice(*p)] for i, p in enumerate(parts) if i != n).strip()
            self.add(f'without "{short(old[slice(*part)])}" in "{what}"', (*here, f'!!({rest})'))


def faults(path, text, flags, source, lines):
    file = File(path, text, flags, source, lines)
    names = {}
    for f in file.faults:
        names[f.name] = names.get(f.name, 0) + 1
        if names[f.name] > 1:
            f.name += f' #{names[f.name]}'
    return file.faults, file.error
