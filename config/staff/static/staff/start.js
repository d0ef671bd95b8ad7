// What unfold's templates ask Alpine for, registered by name: under our Content-Security-Policy
// expressions are read by Alpine's CSP build, which sees components and no global functions.
document.addEventListener("alpine:init", () => {
  for (const component of [theme, searchForm, searchDropdown]) {
    Alpine.data(component.name, component);
  }
  Alpine.data("searchCommand", searchCommandWithFirst);
  Alpine.data("staffPage", (firstTab = "") => ({
    activeTab: firstTab,
    sidebarMobileOpen: false,
    sidebarDesktopOpen: localStorage.getItem("sidebarDesktopOpen") !== "0",
    // What unfold's expressions take from the browser.
    window: { location: { pathname: location.pathname, search: location.search } },
    init() {
      this.activeTab = getCurrentTab() || this.activeTab;
      this.$watch("sidebarDesktopOpen", (open) =>
        localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"),
      );
    },
  }));
});

// The box that searches everything; Enter opens the first thing found, if there is one.
function searchCommandWithFirst() {
  const box = searchCommand();
  return {
    ...box,
    handleContentLoaded(event) {
      box.handleContentLoaded.call(this, event);
      if (event.target.id === "command-results" && this.hasResults) this.currentIndex = 1;
    },
    selectItem(...how) {
      const found = this.items?.[this.currentIndex - 1];
      if (found?.querySelector("a")) box.selectItem.call(this, ...how);
    },
  };
}

document.addEventListener("DOMContentLoaded", () => {
  // An icon is the name of a picture in a font; where words stand beside it, they are to be heard.
  for (const icon of document.querySelectorAll("span.material-symbols-outlined:not([aria-hidden])")) {
    const isAlone = icon.parentElement.textContent.trim() === icon.textContent.trim();
    if (!isAlone) icon.setAttribute("aria-hidden", "true");
  }
  // Unfold has things to click on that no key reaches: those become buttons.
  for (const thing of document.querySelectorAll("[x-on\\:click]:not(a[href], button, h3, tr)")) {
    thing.setAttribute("role", "button");
    thing.tabIndex = 0;
    thing.addEventListener("keydown", (event) => {
      if (event.target !== thing || !["Enter", " "].includes(event.key)) return;
      event.preventDefault();
      thing.click();
    });
  }
});

// Names that Django's own scripts leave out, for whoever hears the page. They begin when it is
// loaded, too, and are done before this.
window.addEventListener("load", () => setTimeout(nameWhatHasNoName));

function nameWhatHasNoName() {
  for (const hint of document.querySelectorAll(".help-tooltip[aria-label]")) {
    hint.setAttribute("role", "img");
  }
  for (const box of document.querySelectorAll(".select2-selection")) {
    const select = box.closest(".select2-container").previousElementSibling;
    const [label] = select?.labels ?? [];
    const chosen = box.querySelector(".select2-selection__rendered");
    if (!label || !chosen) continue;
    label.id ||= `${select.id}_label`;
    for (const part of [box, chosen]) {
      part.setAttribute("aria-labelledby", `${label.id} ${chosen.id}`);
    }
  }
}

// Times are shown where the viewer is: `config.staff.middleware` reads it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  document.cookie = `staff_time_zone=${zone}; path=/admin/; samesite=lax; max-age=31536000`;
}

// The page is hidden until Alpine has started: what should have the focus could not take it before.
document.addEventListener("alpine:initialized", () => {
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) {
      document.querySelector("[autofocus]")?.focus();
    }
  });
});
