// Ages that update without the server: each <time data-age> shows the time since its moment, by the database's clock.
window.ages = {
  ahead: 0,

  set(now) {
    this.ahead = Date.parse(now) - Date.now();
    this.show();
  },

  text(seconds) {
    const steps = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [Infinity, "day", 86400]];
    const [, unit, size] = steps.find(([end]) => seconds < end);
    const count = Math.floor(seconds / size);
    return `${count.toLocaleString("en-US")} ${unit}${count === 1 ? "" : "s"} ago`;
  },

  // Only the text node's data changes: the node itself belongs to the page's framework.
  show() {
    for (const element of document.querySelectorAll("time[data-age]")) {
      const node = element.firstChild;
      const seconds = (Date.now() + this.ahead - Date.parse(element.getAttribute("datetime"))) / 1000;
      if (!node || Number.isNaN(seconds)) continue;
      const text = this.text(Math.max(seconds, 0));
      if (node.nodeValue !== text) node.nodeValue = text;
    }
  },
};

setInterval(() => window.ages.show(), 1000);
