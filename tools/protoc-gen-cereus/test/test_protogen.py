#!/usr/bin/env python3
"""protoc-gen-cereus as protoc runs it: what it makes of test/good, whether C and C++ compile that, what it says to
test/bad.

    test_protogen.py            compare with test/expected and with the .expected beside each bad one
    test_protogen.py --update   write these

The programs come from PROTOC, PROTOC_GEN_CEREUS, PROTOC_GEN_C and CC, the flags that cereus/*.h needs from CC_FLAGS.
"""
import difflib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
UPDATE = '--update' in sys.argv

WARNINGS = ['-Wall', '-Wextra', '-Wshadow', '-Werror']
WARNINGS_C = ['-Wstrict-prototypes', '-Wmissing-prototypes', '-Wold-style-definition']
LANGUAGES = {
    'c11': ['-x', 'c', '-std=c11', '-pedantic', *WARNINGS, *WARNINGS_C],
    'gnu17': ['-x', 'c', '-std=gnu17', *WARNINGS, *WARNINGS_C],
    'c++11': ['-x', 'c++', '-std=c++11', *WARNINGS],
    'c++20': ['-x', 'c++', '-std=c++20', *WARNINGS],
}


def protoc(folder, *arguments):
    """protoc on files of `folder`; their own imports and cereus/options.proto are found."""
    return subprocess.run(
        [os.environ['PROTOC'], '--plugin=protoc-gen-c=' + os.environ['PROTOC_GEN_C'],
         '--plugin=protoc-gen-cereus=' + os.environ['PROTOC_GEN_CEREUS'],
         '--proto_path=' + str(folder), '--proto_path=' + str(ROOT / 'proto'), *arguments],
        capture_output=True, text=True, check=False)


def good_protos():
    return sorted(str(p.relative_to(HERE / 'good')) for p in (HERE / 'good').rglob('*.proto'))


class ProtogenTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.out = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.out)

    def compare(self, path, text):
        """`text` is what the file says, or with --update from now on."""
        if UPDATE:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
            return
        expected = path.read_text(encoding='utf-8')
        if text != expected:
            diff = difflib.unified_diff(expected.splitlines(), text.splitlines(), str(path), 'now', lineterm='')
            self.fail('\n'.join(diff))

    def generate(self, *protos):
        done = protoc(HERE / 'good', '--c_out=' + str(self.out), '--cereus_out=' + str(self.out), *protos)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', ''))

    def assert_refuses(self, expected, *arguments):
        done = protoc(HERE / 'bad', '--cereus_out=' + str(self.out), *arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertTrue(done.stderr.startswith('--cereus_out: '), done.stderr)
        self.compare(expected, done.stderr.removeprefix('--cereus_out: '))
        self.assertEqual(list(self.out.iterdir()), [], 'a refused file must not be written')

    # -- what comes out --

    def test_the_headers_are_the_expected_ones(self):
        self.generate(*good_protos())
        for proto in good_protos():
            name = proto.removesuffix('.proto') + '.cereus.h'
            self.compare(HERE / 'expected' / (name + '.expected'), (self.out / name).read_text(encoding='utf-8'))

    def test_a_file_alone_gives_the_same_as_among_others(self):
        self.generate(*good_protos())
        together = {p: (self.out / p).with_suffix('.cereus.h').read_bytes() for p in good_protos()}
        for proto in good_protos():
            self.generate(proto)
            self.assertEqual((self.out / proto).with_suffix('.cereus.h').read_bytes(), together[proto])

    def test_the_headers_compile_without_a_warning(self):
        self.generate(*good_protos(), 'google/protobuf/empty.proto')
        compilers = {'c': shlex.split(os.environ['CC']), 'c++': ['g++'] if shutil.which('g++') else None}
        for language, flags in LANGUAGES.items():
            compiler = compilers[flags[1]]
            if not compiler:
                continue
            for proto in good_protos():
                header = proto.removesuffix('.proto') + '.cereus.h'
                with self.subTest(header=header, language=language):
                    done = subprocess.run(
                        [*compiler, *flags, '-fsyntax-only', '-I' + str(self.out),
                         *shlex.split(os.environ['CC_FLAGS']), '-'],
                        input='#include "%s"\n#include "%s"\n' % (header, header), capture_output=True, text=True,
                        check=False)
                    self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_all_headers_fit_into_one_file(self):
        self.generate(*good_protos(), 'google/protobuf/empty.proto')
        source = ''.join('#include "%s.cereus.h"\n' % p.removesuffix('.proto') for p in good_protos())
        done = subprocess.run(
            [*shlex.split(os.environ['CC']), *LANGUAGES['c11'], '-fsyntax-only', '-I' + str(self.out),
             *shlex.split(os.environ['CC_FLAGS']), '-'], input=source, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_the_descriptors_are_whole_and_hold_nothing_of_plug_ins(self):
        self.generate(*good_protos())
        for proto in good_protos():
            with self.subTest(proto=proto):
                header = (self.out / proto).with_suffix('.cereus.h').read_text(encoding='utf-8')
                numbers = re.search(r'files\[\] = \{([0-9, \n]*)\}', header).group(1)
                done = subprocess.run(
                    [os.environ['PROTOC'], '--decode=google.protobuf.FileDescriptorSet',
                     'google/protobuf/descriptor.proto'],
                    input=bytes(int(n) for n in re.findall(r'[0-9]+', numbers)), capture_output=True, check=True)
                text = done.stdout.decode()
                names = re.findall(r'^  name: "(.*)"$', text, re.M)
                self.assertIn(proto, names)
                self.assertEqual(len(names), len(set(names)))
                self.assertLessEqual(set(re.findall(r'^  (?:public_)?dependency: "(.*)"$', text, re.M)), set(names))
                self.assertNotRegex(text, r'51900|service \{|source_code_info|cereus/options.proto|descriptor.proto')
                self.compare(HERE / 'expected' / (proto + '.descriptors'), text)

    # -- what is refused --

    def test_mistakes_are_told_with_file_and_line(self):
        for proto in sorted((HERE / 'bad').glob('*.proto')):
            with self.subTest(proto=proto.name):
                self.assert_refuses(proto.with_suffix('.expected'), proto.name)

    def test_names_of_several_files_may_not_collide(self):
        self.assert_refuses(HERE / 'bad/two/two.expected', 'two/a.proto', 'two/b.proto')

    def test_parameters_are_refused(self):
        done = protoc(HERE / 'good', '--cereus_out=speed=high:' + str(self.out), 'plain.proto')
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, '--cereus_out: protoc-gen-cereus takes no parameter, and got "speed=high"\n')

    # -- by hand --

    def run_plugin(self, stdin, *arguments):
        return subprocess.run([os.environ['PROTOC_GEN_CEREUS'], *arguments], input=stdin, capture_output=True,
                              check=False)

    def test_what_is_no_request_ends_it_with_1_and_a_line(self):
        for stdin, told in [
                (b'', 'no file is to be generated'),
                (b'GET / HTTP/1.1\r\n\r\n', 'google.protobuf.compiler.CodeGeneratorRequest: protobuf: '),
                (b'\x0a\x05a', 'google.protobuf.compiler.CodeGeneratorRequest: protobuf: '),
                (b'\x0a\x07a.proto', 'a file to be generated is not there')]:
            with self.subTest(stdin=stdin):
                done = self.run_plugin(stdin)
                self.assertEqual((done.returncode, done.stdout), (1, b''))
                self.assertTrue(done.stderr.decode().startswith('protoc-gen-cereus: ' + told), done.stderr)
                self.assertEqual(done.stderr.count(b'\n'), 1)

    def test_words_on_its_command_line_get_the_usage(self):
        done = self.run_plugin(b'', '--help')
        self.assertEqual((done.returncode, done.stdout), (2, b''))
        self.assertTrue(done.stderr.startswith(b'usage: protoc --cereus_out=DIR'), done.stderr)

    def test_output_that_cannot_be_written_is_an_error(self):
        request = b'\x0a\x07a.proto\x7a\x09\x0a\x07a.proto'
        self.assertEqual(self.run_plugin(request).returncode, 0)
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([os.environ['PROTOC_GEN_CEREUS']], input=request, stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith(b'protoc-gen-cereus: standard output: '), done.stderr)


if __name__ == '__main__':
    sys.argv = [a for a in sys.argv if a != '--update']
    unittest.main()
