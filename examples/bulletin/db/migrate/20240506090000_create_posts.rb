class CreatePosts < ActiveRecord::Migration[6.1]
  def change
    create_table :posts do |t|
      t.string :title, null: false
      t.text :body, null: false
      t.string :author, null: false
      t.string :category, null: false, default: "news"
      t.integer :comments_count, null: false, default: 0
      t.timestamps

      t.index :created_at
      t.index %i[category created_at]
    end
  end
end
