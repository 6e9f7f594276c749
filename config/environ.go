package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// envNames returns the known environment variables by name. They follow from the schema and from the names
// of the entries in the file. A name does not determine its key: "_" stands for ".", "-" and "_".
func (r *reader) envNames(ids map[string][]string) map[string]target {
	table := map[string]target{}
	add := func(at path, n *node) {
		name := at.env()
		if other, taken := table[name]; taken {
			// The path ends in a key; what clashes is the entry's name before it.
			r.report(at[:len(at)-1], "", "has the same environment variables as "+other.at[:len(other.at)-1].String(), "rename one of them")
			return
		}
		table[name] = target{at: at, node: n}
	}
	named := func(at path) []string { return slices.Sorted(slices.Values(ids[at.String()])) }
	schema.leaves(nil, named, func(at path, n *node) {
		if n.kind == workloads {
			return
		}
		add(at, n)
		if n.kind == secret {
			add(at[:len(at)-1].with(n.name+fileSuffix), n)
		}
	})
	return table
}

// target is the key that a variable sets.
type target struct {
	at   path
	node *node
}

// ownVariables are read by the commands, not by the configuration.
var ownVariables = []string{envPrefix + "ADMIN", envPrefix + "ADMIN_CA", envPrefix + "CONFIG"}

// serviceLink matches the variables that Kubernetes sets in a pod if there is a service named
// tokenbroker… (TOKENBROKER_SERVICE_HOST, TOKENBROKER_PORT_8080_TCP=tcp://…).
var (
	serviceLink  = regexp.MustCompile(`^TOKENBROKER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR))$`)
	servicePorts = regexp.MustCompile(`^TOKENBROKER_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://`)
)

// environ returns the layer of the environment variables.
func (r *reader) environ(environ []string, ids map[string][]string) *layer {
	l := newLayer()
	table := r.envNames(ids)
	given := variables(environ, table)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		t, known := table[name]
		if !known {
			r.problems = append(r.problems, Problem{Key: name, Message: "is not a variable of the configuration", Hint: unknownEnvHint(name, table), Source: "environment"})
			continue
		}
		r.putText(l, t.at, t.node, given[name], "environment "+name)
	}
	return l
}

// variables returns the values of the variables that are for the configuration, including misspelled ones.
func variables(environ []string, table map[string]target) map[string]string {
	given := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		_, known := table[name]
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(ownVariables, name) &&
			(known || !serviceLink.MatchString(name) && !servicePorts.MatchString(variable)) {
			given[name] = value
		}
	}
	return given
}

// Variables returns the sorted names of the variables in environ that are for the configuration. environ has
// the form of [os.Environ]. A command without a configuration reports them as ignored.
func Variables(environ []string) []string {
	return slices.Sorted(maps.Keys(variables(environ, (&reader{}).envNames(nil))))
}

func unknownEnvHint(name string, table map[string]target) string {
	if best := didYouMean(name, slices.Sorted(maps.Keys(table))); best != "" {
		return "did you mean " + best + "?"
	}
	for _, kind := range []string{"CLIENTS", "PROVIDERS"} {
		if strings.HasPrefix(name, envPrefix+kind+"_") {
			return "variables are for the " + strings.ToLower(kind) + " that the file names"
		}
	}
	return "unset it, or rename it if it is not for the broker"
}

// flags returns the layer of the flags, which are text by dotted key.
func (r *reader) flags(flags map[string]string) *layer {
	l := newLayer()
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		at, n := schema.find(key)
		if n == nil {
			shown, _, _ := strings.Cut(key, ":") // a value may follow
			r.problems = append(r.problems, Problem{Key: shown, Message: "is not a key of the configuration", Source: "flag"})
			continue
		}
		if n.kind == secret && at[len(at)-1] == n.name { // other users see command lines
			r.report(at, "flag", "is a secret: it does not belong on the command line", "name its file by "+at.String()+fileSuffix+", or set "+at.env())
			continue
		}
		r.putText(l, at, n, flags[key], "flag "+at.flag())
	}
	return l
}
