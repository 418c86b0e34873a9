# The schema as the migrations leave it, for both SQLite and PostgreSQL. Kept by hand in the form that Rails 6.1 writes (see
# config/application.rb); references are bigint, as PostgreSQL's primary keys are.
ActiveRecord::Schema.define(version: 2024_05_06_090200) do

  create_table "attachments", force: :cascade do |t|
    t.bigint "post_id", null: false
    t.string "filename", null: false
    t.string "content_type", null: false
    t.bigint "byte_size", null: false
    t.string "storage_key", null: false
    t.datetime "created_at", precision: 6, null: false
    t.datetime "updated_at", precision: 6, null: false
    t.index ["post_id"], name: "index_attachments_on_post_id"
    t.index ["storage_key"], name: "index_attachments_on_storage_key", unique: true
  end

  create_table "comments", force: :cascade do |t|
    t.bigint "post_id", null: false
    t.string "author", null: false
    t.text "body", null: false
    t.datetime "created_at", precision: 6, null: false
    t.datetime "updated_at", precision: 6, null: false
    t.index ["post_id"], name: "index_comments_on_post_id"
  end

  create_table "posts", force: :cascade do |t|
    t.string "title", null: false
    t.text "body", null: false
    t.string "author", null: false
    t.string "category", default: "news", null: false
    t.integer "comments_count", default: 0, null: false
    t.datetime "created_at", precision: 6, null: false
    t.datetime "updated_at", precision: 6, null: false
    t.index ["category", "created_at"], name: "index_posts_on_category_and_created_at"
    t.index ["created_at"], name: "index_posts_on_created_at"
  end

  add_foreign_key "attachments", "posts"
  add_foreign_key "comments", "posts"
end
