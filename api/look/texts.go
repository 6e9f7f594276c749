package look

// defaultTexts are the texts of the pages, by key. An operator can replace each of them. A name in braces is a placeholder:
// a replacement may use those of the default text, and no others.
var defaultTexts = map[string]string{
	"support":      "Help",
	"back":         "Back",
	"back.to_host": "Back to {host}",

	"sign_in.title":      "Sign in",
	"sign_in.lead":       "to continue to {client}",
	"sign_in.unverified": "to continue to {client}, an application that is not verified",
	"sign_in.username":   "User name",
	"sign_in.password":   "Password",
	"sign_in.submit":     "Sign in",
	"sign_in.or":         "or",
	"sign_in.provider":   "Continue with {provider}",

	"sign_in.error.invalid_credentials":  "The user name or the password is wrong.",
	"sign_in.error.too_many_attempts":    "Too many attempts. Try again in {time}.",
	"sign_in.error.too_many_sessions":    "This account signed in too often. Try again in {time}.",
	"sign_in.error.user_disabled":        "This account is disabled.",
	"sign_in.error.upstream_unavailable": "The sign-in provider does not answer. Try again in a few minutes.",
	"sign_in.error.email_not_verified":   "The sign-in provider has not verified your e-mail address.",
	"sign_in.error.busy":                 "The sign-in service is busy. Try again in a moment.",
	"sign_in.error.other":                "The sign-in did not succeed. Try again.",

	"time.seconds": "{n} s",
	"time.minutes": "{n} min",

	"consent.title":     "{client} asks for access",
	"consent.signed_in": "Signed in as",
	"consent.switch":    "Use another account",
	"consent.scopes":    "If you allow it, {client} can:",
	"consent.target":    "You will be sent to",
	"consent.allow":     "Allow",
	"consent.deny":      "Deny",

	"consent.unverified":            "This application is not verified",
	"consent.unverified.title":      "An application that calls itself {client} asks for access",
	"consent.unverified.document":   "It describes itself at",
	"consent.unverified.registered": "It registered itself, as anyone can.",
	"consent.unverified.scopes":     "If you allow it, the application can:",
	"consent.unverified.local":      "The access goes to a program on this computer. Allow it only if you started that program.",
	"consent.unverified.advice":     "Allow it only if you started this and know the addresses on this page.",

	"scope.openid":         "Know who you are",
	"scope.profile":        "See your name and profile",
	"scope.email":          "See your e-mail address",
	"scope.phone":          "See your phone number",
	"scope.address":        "See your postal address",
	"scope.groups":         "See the groups that you belong to",
	"scope.offline_access": "Keep this access while you are signed out",

	"logout.title":      "Sign out?",
	"logout.lead":       "You are signed in as {user}.",
	"logout.client":     "{client} asks to sign you out.",
	"logout.unverified": "{client}, an application that is not verified, asks to sign you out.",
	"logout.effect":     "Signing out here also signs you out of the applications that you opened with this sign-in.",
	"logout.confirm":    "Sign out",
	"logout.stay":       "Stay signed in",
	"logout.close":      "To stay signed in, close this window.",

	"signed_out.title":    "You are signed out",
	"signed_out.text":     "You can close this window.",
	"signed_out.provider": "Also sign out of {provider}",
	"signed_out.back":     "Continue to {host}",
	"signed_out.home":     "Continue",

	"leave.title": "You are leaving this site",
	"leave.text":  "An application that is not verified, {client}, sent you here. If you did not start this, close this window.",

	"continue.title":  "One moment",
	"continue.text":   "If this page stays, select Continue.",
	"continue.submit": "Continue",
}
