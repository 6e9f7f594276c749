// A browser that fills the broker's pages as a person does: it finds the controls by their ids.

export class Browser {
  cookies = new Map();

  async fetch(url, init = {}) {
    const headers = { ...init.headers };
    if (this.cookies.size > 0) headers.cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, { ...init, headers, redirect: "manual" });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      if (/max-age=0|max-age=-1/i.test(cookie)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    return response;
  }

  // go follows redirects. It returns the URL that begins with stopAt, without requesting it, or the last page.
  async go(url, stopAt, init) {
    for (let i = 0; i < 20; i++) {
      if (String(url).startsWith(stopAt)) return { url: new URL(url) };
      const response = await this.fetch(url, init);
      init = undefined;
      const location = response.headers.get("location");
      if (!location) return { url: new URL(url), status: response.status, html: await response.text() };
      url = new URL(location, url);
    }
    throw new Error(`too many redirects at ${url}`);
  }

  // submit presses the button with that id.
  async submit(page, button, texts, stopAt) {
    const forms = page.html.match(/<form[\s\S]*?<\/form>/gi) ?? [];
    const form = forms.find((text) => text.includes(`id="${button}"`));
    if (!form) throw new Error(`${page.url} has no #${button} (status ${page.status}):\n${page.html}`);
    const values = new URLSearchParams();
    for (const [tag] of form.matchAll(/<(input|button)\b[^>]*>/gi)) {
      const name = attribute(tag, "name");
      const id = attribute(tag, "id");
      if (!name || (/^<button/i.test(tag) && id !== button)) continue;
      values.set(name, texts?.[id] ?? attribute(tag, "value") ?? "");
    }
    const action = new URL(attribute(form, "action") || page.url, page.url);
    return this.go(action, stopAt, {
      method: "POST", body: values.toString(),
      headers: { "content-type": "application/x-www-form-urlencoded", origin: action.origin },
    });
  }

  // authorize goes to the authorization endpoint, signs in and consents where it is asked, and returns the URL with the answer.
  async authorize(url, redirectURI) {
    let page = await this.go(url, redirectURI);
    if (page.html?.includes('id="username"')) page = await this.submit(page, "submit", { username: "ada", password: "correct horse" }, redirectURI);
    if (page.html?.includes('id="consent-allow"')) page = await this.submit(page, "consent-allow", {}, redirectURI);
    if (page.html) throw new Error(`no answer at ${page.url} (status ${page.status}):\n${page.html}`);
    return page.url;
  }
}

function attribute(tag, name) {
  const found = tag.match(new RegExp(`\\s${name}="([^"]*)"`, "i"));
  return found?.[1].replaceAll("&#43;", "+").replaceAll("&#34;", '"').replaceAll("&#39;", "'").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
