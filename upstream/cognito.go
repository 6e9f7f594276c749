package upstream

import (
	"slices"
	"strings"
)

// awsSuffixes are the host names' ends of AWS's partitions, by the beginning of their regions:
// of service endpoints, and of those that have IPv6 addresses in any case (dual-stack).
var awsSuffixes = []struct{ region, service, dualStack string }{
	{"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
	{"", "amazonaws.com", "api.aws"}, // GovCloud has these too
}

func awsSuffix(region string) (service, dualStack string) {
	i := slices.IndexFunc(awsSuffixes, func(p struct{ region, service, dualStack string }) bool { return strings.HasPrefix(region, p.region) })
	return awsSuffixes[i].service, awsSuffixes[i].dualStack
}

// CognitoIssuer is the original issuer of a user pool in a region.
func CognitoIssuer(region, pool string) string {
	suffix, _ := awsSuffix(region)
	return "https://cognito-idp." + region + "." + suffix + "/" + pool
}

// CognitoIssuers returns the issuers of a user pool, and the one that identifies its users,
// which does not change. The region of a replicated pool may be a replica's; the pool's id
// begins with its primary region.
//
// A pool has the original issuer or the updated one, as its operators choose, and its tokens
// name the one of the time. With the original issuer a replica's tokens name the replica's
// region. The updated issuer is the same in all regions.
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

// PreferCognitoIssuer returns the pool's issuers with the one that is to be asked first in
// front; false if it is none of the pool's. It may also be the dual-stack host of one of the
// regions, for a network without IPv4.
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
