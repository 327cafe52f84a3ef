package records

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/samber/lo"
)

// Committee is the name by which an access tree calls the custodians.
const Committee = "custodians"

// ErrUnsupportedTree is wrapped when an access tree is understood and suite 1
// cannot serve it.
var ErrUnsupportedTree = errors.New("access tree is not supported by suite 1")

// Op joins the branches of a [Tree].
type Op string

// The two ways in which branches are joined; a leaf has neither.
const (
	And Op = "AND"
	Or  Op = "OR"
)

// Tree says who must come together to open a record: "3 of custodians",
// "patient AND 3 of custodians", "(patient OR 2 of trustees) AND 3 of
// custodians". It names what is stable; rules about staff are policy.
type Tree struct {
	Op       Op     // empty: a leaf
	Branches []Tree // two or more, when not a leaf
	K        int    // a leaf's "K of Name"; 0: one person, by name
	Name     string
}

const (
	maxTreeText  = 512
	maxTreeDepth = 8
)

// ParseTree reads an access tree. AND and OR do not mix without parentheses:
// who may open a record is no place for precedence rules. Errors are
// *[TreeError].
func ParseTree(text string) (Tree, error) {
	if len(text) > maxTreeText {
		return Tree{}, &TreeError{Offset: maxTreeText, Reason: fmt.Sprintf("longer than %d bytes", maxTreeText)}
	}
	p := treeParser{text: text}
	p.next()
	t, err := p.expression(1)
	if err != nil {
		return Tree{}, err
	}
	if p.token != "" {
		return Tree{}, p.fail("unexpected %q", p.token)
	}
	return t, nil
}

// String is the canonical text: ParseTree(t.String()) is t.
func (t Tree) String() string {
	if t.Op == "" {
		if t.K == 0 {
			return t.Name
		}
		return strconv.Itoa(t.K) + " of " + t.Name
	}
	return strings.Join(lo.Map(t.Branches, func(b Tree, _ int) string {
		if b.Op != "" {
			return "(" + b.String() + ")"
		}
		return b.String()
	}), " "+string(t.Op)+" ")
}

// Hash is what a label binds: that of the canonical text.
func (t Tree) Hash() [32]byte { return hashed("wardkey-tree-v1\x00", []byte(t.String())) }

// supported says whether suite 1 serves this tree with a committee of
// threshold k: it knows one committee leaf.
func (t Tree) supported(k int) error {
	switch {
	case t.Op != "":
		return fmt.Errorf("%q joins branches with %s: %w", t, t.Op, ErrUnsupportedTree)
	case t.K == 0:
		return fmt.Errorf("%q is a person's leaf: %w", t, ErrUnsupportedTree)
	case t.Name != Committee:
		return fmt.Errorf("%q names a committee other than %q: %w", t, Committee, ErrUnsupportedTree)
	case t.K != k:
		return fmt.Errorf("%q, but the committee's threshold is %d: %w", t, k, ErrUnsupportedTree)
	}
	return nil
}

// CommitteeTree is the one tree of suite 1.
func CommitteeTree(k int) Tree { return Tree{K: k, Name: Committee} }

// treeParser reads one token ahead; token is empty at the end.
type treeParser struct {
	text  string
	at    int // after token
	start int // of token
	token string
}

func (p *treeParser) fail(format string, args ...any) error {
	return &TreeError{Offset: p.start, Reason: fmt.Sprintf(format, args...)}
}

func (p *treeParser) next() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	p.start = p.at
	if p.at == len(p.text) {
		p.token = ""
		return
	}
	for p.at < len(p.text) && wordByte(p.text[p.at]) {
		p.at++
	}
	if p.at == p.start { // a parenthesis, or something that is refused where it is read
		p.at++
	}
	p.token = p.text[p.start:p.at]
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

func (p *treeParser) expression(depth int) (Tree, error) {
	if depth > maxTreeDepth {
		return Tree{}, p.fail("deeper than %d levels", maxTreeDepth)
	}
	first, err := p.operand(depth)
	if err != nil {
		return Tree{}, err
	}
	op := Op(p.token)
	if op != And && op != Or {
		return first, nil
	}
	t := Tree{Op: op, Branches: []Tree{first}}
	for Op(p.token) == op {
		p.next()
		branch, err := p.operand(depth)
		if err != nil {
			return Tree{}, err
		}
		t.Branches = append(t.Branches, branch)
	}
	if Op(p.token) == And || Op(p.token) == Or {
		return Tree{}, p.fail("AND and OR mixed without parentheses")
	}
	return t, nil
}

func (p *treeParser) operand(depth int) (Tree, error) {
	if p.token == "(" {
		p.next()
		t, err := p.expression(depth + 1)
		if err != nil {
			return Tree{}, err
		}
		if p.token != ")" {
			return Tree{}, p.fail("a closing parenthesis is missing")
		}
		p.next()
		return t, nil
	}
	k := 0
	if p.token != "" && p.token[0] >= '0' && p.token[0] <= '9' {
		n, err := strconv.Atoi(p.token)
		if err != nil || n < 1 || n > 255 || strconv.Itoa(n) != p.token {
			return Tree{}, p.fail("%q is not a number from 1 to 255", p.token)
		}
		k = n
		if p.next(); p.token != "of" {
			return Tree{}, p.fail("expected \"of\" after %d", k)
		}
		p.next()
	}
	name := p.token
	if !treeName(name) {
		if name == "" {
			return Tree{}, p.fail("expected a name, found the end")
		}
		return Tree{}, p.fail("%q is not a name: small letters, digits and hyphens", name)
	}
	p.next()
	return Tree{K: k, Name: name}, nil
}

func treeName(s string) bool {
	if s == "" || s == "of" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.ToLower(s) == s && len(s) <= 64
}
