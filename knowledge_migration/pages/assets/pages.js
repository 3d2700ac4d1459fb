// The part of a page that runs in the browser: keys, preferences, and drafts that survive a restart of the service.
window.pages = {
  codes: new Set(),
  pendingText: null, // text typed while the server sends a field
  typingUntil: null, // until this time, typed letters belong to a field that was just removed

  // Enables keys outside of fields; each event names the proposal that was displayed when the key was pressed.
  listen(codes) {
    this.codes = new Set(codes);
    if (this.listening) return;
    this.listening = true;
    document.addEventListener("keydown", (event) => this.pressed(event));
  },

  pressed(event) {
    if (this.continuesTyping(event)) return;
    const typed = event.key === "Enter" ? "\n" : event.key.length === 1 ? event.key : "";
    if (this.pendingText !== null && typed && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.pendingText += typed;
      this.expirePendingText();
      event.preventDefault();
      return;
    }
    if (event.defaultPrevented || document.querySelector(".q-dialog__inner, .q-menu")) return;
    const field = this.fieldOf(event);
    const code = event.ctrlKey || event.metaKey ? `ctrl+${event.key.toLowerCase()}` : event.key.toLowerCase();
    const sends = code === "ctrl+enter" || (code === "enter" && !event.isComposing && event.target.matches?.("#reason, #merge-into"));
    const always = code === "escape" || sends;
    if (code === "escape" && document.body.classList.contains("drawer-open")) {
      this.drawer(false);
      return;
    }
    if (event.altKey || (field && !always) || (!always && !this.codes.has(code))) return;
    if (event.repeat && code !== "j" && code !== "k") return;
    const shown = this.shown() ?? null;
    event.preventDefault();
    if (shown && ["r", "e", "m"].includes(code)) {
      this.pendingText = "";
      this.expirePendingText();
    }
    emitEvent("pages_key", { key: code, shown, typed: this.typed() });
  },

  // The displayed proposal.
  shown() {
    return document.querySelector("[data-proposal]")?.dataset.proposal;
  },

  // The text field of an event, if any.
  fieldOf(event) {
    return event.target.closest?.("textarea, select, input:not([type=checkbox])");
  },

  // Submits the open form; called by its button.
  submit() {
    emitEvent("pages_key", { key: "ctrl+enter", shown: null, typed: this.typed() });
  },

  // The length of the typed text of each field: text that is too long, or cannot be encoded, never reaches the service.
  typed() {
    const fields = [...document.querySelectorAll("[data-draft]")].filter((field) => "value" in field);
    return Object.fromEntries(fields.map((field) => [field.dataset.draft.split(":")[1], field.value.length]));
  },

  // If the field does not arrive: typed letters become keys again 3 s after the last one.
  expirePendingText() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => { this.pendingText = null; }, 3000);
  },

  // Whether a letter belongs to a word that was begun in a field that has been removed meanwhile.
  continuesTyping(event) {
    const now = performance.now();
    const letter = event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey;
    if (this.fieldOf(event)) {
      this.typingUntil = letter || event.key === "Backspace" ? now + 3000 : null;
      return false;
    }
    if (!letter || this.typingUntil === null || this.pendingText !== null || now > this.typingUntil) return false;
    this.typingUntil = now + 3000;
    event.preventDefault();
    return true;
  },

  // Focuses a field, and inserts the text that was typed before it arrived.
  focus(id) {
    requestAnimationFrame(() => {
      const field = document.getElementById(id);
      const typed = this.pendingText;
      this.pendingText = null;
      field?.focus({ preventScroll: true });
      const form = field?.closest(".panel, .edit");
      if (form) this.bringIntoView(form);
      if (!typed || !field || !("value" in field)) return;
      const [text, ...submits] = typed.split("\n");
      field.value += text;
      field.dispatchEvent(new Event("input", { bubbles: true }));
      const enter = () => field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      if (submits.length) setTimeout(enter, 50); // after the text, which is sent in the next tick
    });
  },

  reveal(id, margin) {
    const element = document.getElementById(id);
    if (element) this.bringIntoView(element, margin);
  },

  setAddress(url) {
    history.replaceState({}, "", url);
  },

  savePreferences(value) {
    document.cookie = `knowledge_preferences=${value}; Path=/; Max-Age=31536000; SameSite=Strict`;
  },

  keepDraft(key, value) {
    sessionStorage.setItem(`draft:${key}`, value);
  },

  // The drafts of the open proposal first, then as many others as fit into one message of at most 1 MB.
  drafts() {
    const shown = this.shown();
    const all = Object.entries(sessionStorage).filter(([key]) => key.startsWith("draft:"));
    const drafts = {};
    let room = 300000;
    for (const [key, value] of all.sort(([key]) => (key.startsWith(`draft:${shown}:`) ? -1 : 1))) {
      if (value.length > room) continue;
      room -= value.length;
      drafts[key.slice(6)] = value;
    }
    return drafts;
  },

  deleteDrafts(proposal) {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(`draft:${proposal}:`)) sessionStorage.removeItem(key);
    }
  },
};

document.addEventListener("input", (event) => {
  const key = event.target.dataset?.draft;
  if (key) pages.keepDraft(key, event.target.value);
});

// An unpaired surrogate cannot be encoded: the message would be dropped, and the service would keep the old value of the field.
addEventListener("input", (event) => {
  const half = /\p{Surrogate}/gu;
  if (typeof event.target.value === "string" && half.test(event.target.value)) {
    event.target.value = event.target.value.replace(half, "\ufffd");
  }
}, true);

addEventListener("pointerdown", () => { pages.typingUntil = null; }, true);

// Ignores the second click of a double click if another proposal was displayed between the two.
addEventListener("click", (event) => {
  const shown = pages.shown();
  if (event.detail < 2) pages.clicked = shown;
  if (event.detail < 2 || pages.clicked === shown || !event.target.closest?.(".decides")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

// Scrolls an element into the part of the window that the header leaves free; its top is never under the header.
pages.bringIntoView = (element, margin = 12) => {
  const box = element.getBoundingClientRect();
  const header = (document.querySelector("header.bar")?.getBoundingClientRect().bottom ?? 0) + margin;
  const below = box.bottom + margin - innerHeight;
  if (box.top < header) scrollBy(0, box.top - header);
  else if (below > 0) scrollBy(0, Math.min(below, box.top - header));
};

// Highlights the element that the tour explains, or the one that stands for it on a narrow screen.
pages.highlight = (id) => {
  document.querySelectorAll(".highlight").forEach((element) => element.classList.remove("highlight"));
  const candidates = id ? [document.getElementById(id), document.querySelector(`[data-explains="${id}"]`)] : [];
  const element = candidates.find((one) => one?.checkVisibility({ visibilityProperty: true }));
  if (!element) return;
  element.classList.add("highlight");
  pages.bringIntoView(element);
  const [tour, box] = [document.getElementById("tour"), element.getBoundingClientRect()];
  const covers = tour && box.bottom > tour.getBoundingClientRect().top && box.right > tour.getBoundingClientRect().left;
  if (covers && box.top > innerHeight / 2) tour.classList.add("tour-top");
};

// The list as a drawer, on narrow screens.
pages.drawer = (open) => {
  document.body.classList.toggle("drawer-open", open);
  const opener = document.getElementById("open-queue");
  opener?.setAttribute("aria-expanded", open);
  if (open) document.querySelector(".close-drawer")?.focus({ preventScroll: true });
  else if (opener?.checkVisibility()) opener.focus({ preventScroll: true });
};

addEventListener("click", (event) => {
  const leaves = event.target.closest?.(".row-button") || !event.target.closest?.("#queue, #open-queue, .q-menu, .q-dialog");
  if (leaves && document.body.classList.contains("drawer-open")) pages.drawer(false);
});

// If the connection is lost because the session has ended, the page is reloaded for the sign-in.
setInterval(async () => {
  if (document.getElementById("popup")?.getAttribute("aria-hidden") !== "false") return;
  const answer = await fetch("/session").catch(() => null);
  if (answer?.status === 401) location.reload();
}, 2000);
