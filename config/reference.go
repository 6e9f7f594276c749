package config

import "strings"

// KeyDoc describes a key for the reference. In keys, <id> stands for the id of a client or a service, and
// <name> for the name of a provider or a claim, and <audience> and <scope> for those names.
type KeyDoc struct {
	Key string `json:"key"`
	// Env is the environment variable. It is empty for keys that only the file has. A secret also has one that ends in _FILE.
	Env     string `json:"env,omitempty"`
	Default string `json:"default,omitempty"`
	Secret  bool   `json:"secret,omitempty"`
	Meaning string `json:"meaning"`
}

// placeholder returns the name of entries in the reference.
func placeholder(at path) []string {
	switch at.String() {
	case "clients", "nats.services":
		return []string{"<id>"}
	case "oauth.resources":
		return []string{"<audience>"}
	case "oauth.scopes":
		return []string{"<scope>"}
	}
	return []string{"<name>"}
}

// Reference returns every key in the order of [Config].
func Reference() []KeyDoc {
	var docs []KeyDoc
	schema.leaves(nil, placeholder, func(at path, n *node) {
		doc := KeyDoc{Key: at.String(), Env: at.env(), Default: n.def, Secret: n.kind == secret, Meaning: n.doc}
		if strings.HasSuffix(doc.Key, ">") || n.kind == workloads { // the entry itself is the value: claims.computed
			doc.Env = ""
		}
		docs = append(docs, doc)
	})
	return docs
}

// ReferenceTable returns [Reference] as a Markdown table, for docs/configuration.md.
func ReferenceTable() string {
	var table strings.Builder
	table.WriteString("| key | environment | default | meaning |\n|---|---|---|---|\n")
	for _, d := range Reference() {
		key, env, def := "`"+d.Key+"`", "", ""
		if d.Env != "" {
			env = "`" + d.Env + "`"
		}
		if d.Default != "" {
			def = "`" + d.Default + "`"
		}
		if d.Secret {
			key += ", `" + d.Key + fileSuffix + "`"
			env += ", `" + d.Env + strings.ToUpper(fileSuffix) + "`"
		}
		table.WriteString("| " + key + " | " + env + " | " + def + " | " + strings.ReplaceAll(d.Meaning, "|", `\|`) + " |\n")
	}
	return table.String()
}
