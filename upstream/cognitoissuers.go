package upstream

import (
	"slices"
	"strings"
)

// awsSuffixes are the host name suffixes of AWS's partitions, by the prefix of their regions: of
// service endpoints, and of endpoints that always have IPv6 addresses (dual-stack).
var awsSuffixes = []struct{ region, service, dualStack string }{
	{"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
	{"", "amazonaws.com", "api.aws"}, // also GovCloud
}

func awsSuffix(region string) (service, dualStack string) {
	i := slices.IndexFunc(awsSuffixes, func(p struct{ region, service, dualStack string }) bool { return strings.HasPrefix(region, p.region) })
	return awsSuffixes[i].service, awsSuffixes[i].dualStack
}

// CognitoIssuer returns the original issuer of a user pool in a region.
func CognitoIssuer(region, pool string) string {
	suffix, _ := awsSuffix(region)
	return "https://cognito-idp." + region + "." + suffix + "/" + pool
}

// CognitoIssuers returns the issuers of a user pool, and the constant one that identifies its
// users. The region of a replicated pool may be a replica's; the id of the pool starts with its
// primary region.
//
// A pool has the original or the updated issuer, which its operators select, and its tokens name
// the selected one. With the original issuer the tokens of a replica name the replica's region. The
// updated issuer is the same in all regions.
func CognitoIssuers(region, pool string) (identity string, issuers []string) {
	primary, _, _ := strings.Cut(pool, "_")
	suffix, _ := awsSuffix(primary)
	identity = CognitoIssuer(primary, pool)
	issuers = []string{CognitoIssuer(region, pool), "https://issuer-cognito-idp." + primary + "." + suffix + "/" + pool}
	if region != primary {
		issuers = append(issuers, identity)
	}
	return identity, issuers
}

// PreferCognitoIssuer returns the pool's issuers, starting with first, which is then discovered
// first. The result is false if first is not an issuer of the pool. first may also be the
// dual-stack host of one of the regions, for a network without IPv4.
func PreferCognitoIssuer(first, region, pool string) ([]string, bool) {
	_, issuers := CognitoIssuers(region, pool)
	primary, _, _ := strings.Cut(pool, "_")
	possible := slices.Clone(issuers)
	for _, r := range []string{region, primary} {
		_, suffix := awsSuffix(r)
		possible = append(possible, "https://cognito-idp."+r+"."+suffix+"/"+pool)
	}
	if !slices.Contains(possible, first) {
		return nil, false
	}
	others := slices.DeleteFunc(issuers, func(issuer string) bool { return issuer == first })
	return append([]string{first}, others...), true
}
