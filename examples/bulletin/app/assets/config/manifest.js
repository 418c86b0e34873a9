//= link application.css
//= link application.js
//= link logo.svg
