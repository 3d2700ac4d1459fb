// What a page does in the browser itself: keys, preferences, drafts that outlive a restart of the service.
window.pages = {
  codes: new Set(),
  opening: null, // what was typed while a field is on its way from the server
  typing: null, // until when what is typed belongs to a field that has just gone

  // Keys act while nothing is typed; each says which proposal was on the screen when it was pressed.
  listen(codes) {
    this.codes = new Set(codes);
    if (this.listening) return;
    this.listening = true;
    document.addEventListener("keydown", (event) => this.pressed(event));
  },

  pressed(event) {
    if (this.goesOn(event)) return;
    const typed = event.key === "Enter" ? "\n" : event.key.length === 1 ? event.key : "";
    if (this.opening !== null && typed && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.opening += typed;
      this.timeouts();
      event.preventDefault();
      return;
    }
    if (event.defaultPrevented || document.querySelector(".q-dialog__inner, .q-menu")) return;
    const field = this.fieldOf(event);
    const code = event.ctrlKey || event.metaKey ? `ctrl+${event.key.toLowerCase()}` : event.key.toLowerCase();
    const sends = code === "ctrl+enter" || (code === "enter" && !event.isComposing && event.target.matches?.("#reason, #merge-into"));
    const always = code === "escape" || sends;
    if (event.altKey || (field && !always) || (!always && !this.codes.has(code))) return;
    if (event.repeat && code !== "j" && code !== "k") return;
    const shown = this.shown() ?? null;
    event.preventDefault();
    if (shown && ["r", "e", "m"].includes(code)) {
      this.opening = "";
      this.timeouts();
    }
    emitEvent("pages_key", { key: code, shown, typed: this.typed() });
  },

  // The proposal that stands on the page.
  shown() {
    return document.querySelector("[data-proposal]")?.dataset.proposal;
  },

  // The field that is typed into, if it is one.
  fieldOf(event) {
    return event.target.closest?.("textarea, select, input:not([type=checkbox])");
  },

  // What an open form is for; from its button.
  send() {
    emitEvent("pages_key", { key: "ctrl+enter", shown: null, typed: this.typed() });
  },

  // How long what was typed is, by field: what is too long, or cannot be sent, never reaches the service.
  typed() {
    const fields = [...document.querySelectorAll("[data-draft]")].filter((field) => "value" in field);
    return Object.fromEntries(fields.map((field) => [field.dataset.draft.split(":")[1], field.value.length]));
  },

  // A field that does not come: what is typed for it is no key for as long as somebody goes on typing.
  timeouts() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { this.opening = null; }, 3000);
  },

  // Whether a letter belongs to a word that was begun in a field which has gone under the hands of who types.
  goesOn(event) {
    const now = performance.now();
    const letter = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (this.fieldOf(event)) {
      this.typing = letter || event.key === "Backspace" ? now + 3000 : null;
      return false;
    }
    if (!letter || this.typing === null || this.opening !== null || now > this.typing) return false;
    this.typing = now + 3000;
    event.preventDefault();
    return true;
  },

  // Puts the cursor into a field, and into the field what was typed too early for it.
  focus(id) {
    requestAnimationFrame(() => {
      const field = document.getElementById(id);
      const typed = this.opening;
      this.opening = null;
      field?.focus({ preventScroll: true });
      if (!typed || !field || !("value" in field)) return;
      const [text, ...sent] = typed.split("\n");
      field.value += text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      const enter = () => field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      if (sent.length) setTimeout(enter, 50); // behind the text, which is sent in the next tick
    });
  },

  reveal(id) {
    document.getElementById(id)?.scrollIntoView({ block: "nearest" });
  },

  address(url) {
    history.replaceState({}, "", url);
  },

  remember(value) {
    document.cookie = `knowledge_preferences=${value}; Path=/; Max-Age=31536000; SameSite=Strict`;
  },

  keep(key, value) {
    sessionStorage.setItem(`draft:${key}`, value);
  },

  // Those of the open proposal first; all of them only as far as they fit into one message, which may have 1 MB.
  drafts() {
    const shown = this.shown();
    const all = Object.entries(sessionStorage).filter(([key]) => key.startsWith("draft:"));
    const found = {};
    let room = 300000;
    for (const [key, value] of all.sort(([key]) => (key.startsWith(`draft:${shown}:`) ? -1 : 1))) {
      if (value.length > room) continue;
      room -= value.length;
      found[key.slice(6)] = value;
    }
    return found;
  },

  forget(proposal) {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(`draft:${proposal}:`)) sessionStorage.removeItem(key);
    }
  },
};

document.addEventListener("input", (event) => {
  const key = event.target.dataset?.draft;
  if (key) pages.keep(key, event.target.value);
});

// Half of a surrogate pair is no text: the message with it would not be read, and the field's old value be taken for the new.
addEventListener("input", (event) => {
  const half = /\p{Surrogate}/gu;
  if (typeof event.target.value === "string" && half.test(event.target.value)) {
    event.target.value = event.target.value.replace(half, "\ufffd");
  }
}, true);

addEventListener("pointerdown", () => { pages.typing = null; }, true);

// The second click of a double click is not about a proposal that came between the two.
addEventListener("click", (event) => {
  const shown = pages.shown();
  if (event.detail < 2) pages.clicked = shown;
  if (event.detail < 2 || pages.clicked === shown || !event.target.closest?.(".decides")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// The tour marks what it speaks of.
pages.spot = (id) => {
  document.querySelectorAll(".spot").forEach((element) => element.classList.remove("spot"));
  const element = id && document.getElementById(id);
  if (element) {
    element.classList.add("spot");
    element.scrollIntoView({ block: "center" });
  }
};

// A connection that does not come back because the session is over: then there is something to do, signing in.
setInterval(async () => {
  if (document.getElementById("popup")?.getAttribute("aria-hidden") !== "false") return;
  const answer = await fetch("/session").catch(() => null);
  if (answer?.status === 401) location.reload();
}, 2000);
